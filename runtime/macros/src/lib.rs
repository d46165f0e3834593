//! The attributes [`main`](macro@main) and [`test`](macro@test) of `greenpatch`, which documents them.
//!
//! Both put a function's body into a closure that `Runtime::run` calls. What they need to know of the function is
//! little: where its return type and its body stand. The rest is handed on as it is, so that the compiler says what is
//! wrong with it.

use proc_macro::{Delimiter, Group, Ident, Punct, Spacing, Span, TokenStream, TokenTree};

/// Makes a program's `main` thread a green thread while it runs the function's body; see `greenpatch`.
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, function: TokenStream) -> TokenStream {
    expand(arguments, function, Kind::Main)
}

/// Makes a test of the function, whose body runs on a green thread; see `greenpatch`.
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, function: TokenStream) -> TokenStream {
    expand(arguments, function, Kind::Test)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Main,
    Test,
}

/// The arguments: each is the method of `RuntimeBuilder` of that name.
const ARGUMENTS: [&str; 3] = ["workers", "stack_size", "patch"];

fn expand(arguments: TokenStream, function: TokenStream, kind: Kind) -> TokenStream {
    let outcome = settings(arguments)
        .and_then(|settings| Ok((settings, Function::parse(function.clone(), kind)?)));
    match outcome {
        Ok((settings, function)) => function.expand(settings, kind),
        // The function too, so that the compiler does not also miss it.
        Err(error) => error.into_tokens().chain(function),
    }
}

/// What is wrong, and where.
struct Error {
    message: String,
    place: Span,
}

impl Error {
    fn new(place: Span, message: impl Into<String>) -> Error {
        Error {
            message: message.into(),
            place,
        }
    }

    fn into_tokens(self) -> TokenStream {
        let text = proc_macro::Literal::string(&self.message);
        let call: TokenStream = "::core::compile_error!".parse().expect("a path");
        let tokens = call
            .into_iter()
            .chain([group(Delimiter::Brace, TokenTree::from(text).into())]);
        tokens
            .map(|mut token| {
                token.set_span(self.place);
                token
            })
            .collect()
    }
}

trait Chain {
    fn chain(self, after: TokenStream) -> TokenStream;
}

impl Chain for TokenStream {
    fn chain(mut self, after: TokenStream) -> TokenStream {
        self.extend(after);
        self
    }
}

fn group(delimiter: Delimiter, tokens: TokenStream) -> TokenTree {
    Group::new(delimiter, tokens).into()
}

fn is_punctuation(token: Option<&TokenTree>, sign: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

/// The calls of the builder's methods: `.workers(2)`.
fn settings(arguments: TokenStream) -> Result<TokenStream, Error> {
    let mut calls = TokenStream::new();
    let mut known: Vec<String> = Vec::new();
    let mut tokens = arguments.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let place = token.span();
        let name = token.to_string();
        if !ARGUMENTS.contains(&name.as_str()) {
            let message = format!("unknown argument `{name}`; use workers, stack_size or patch");
            return Err(Error::new(place, message));
        }
        if known.contains(&name) {
            return Err(Error::new(place, format!("`{name}` is given twice")));
        }
        if !is_punctuation(tokens.peek(), '=') {
            let message = format!("`{name}` needs a value: `{name} = ...`");
            return Err(Error::new(place, message));
        }
        tokens.next();
        let mut value = TokenStream::new();
        // A comma inside brackets belongs to their group.
        while let Some(token) = tokens.next_if(|token| !is_punctuation(Some(token), ',')) {
            value.extend([token]);
        }
        if value.is_empty() {
            return Err(Error::new(
                place,
                format!("`{name}` needs a value after the `=`"),
            ));
        }
        tokens.next();
        calls.extend([
            TokenTree::from(Punct::new('.', Spacing::Alone)),
            Ident::new(&name, place).into(),
            group(Delimiter::Parenthesis, value),
        ]);
        known.push(name);
    }
    Ok(calls)
}

/// A function without arguments, as its parts.
struct Function {
    /// Attributes, visibility, `fn`, name, `()`.
    before: TokenStream,
    /// `-> T`, or nothing.
    returns: TokenStream,
    /// Whether that is `-> impl Trait`, which a closure cannot say.
    returns_some: bool,
    body: Group,
}

impl Function {
    fn parse(function: TokenStream, kind: Kind) -> Result<Function, Error> {
        let attribute = match kind {
            Kind::Main => "greenpatch::main",
            Kind::Test => "greenpatch::test",
        };
        let not_a_function = |place| {
            Error::new(
                place,
                format!("`{attribute}` is for functions: `fn name() {{ ... }}`"),
            )
        };
        let mut tokens = function.into_iter().peekable();
        let mut before = TokenStream::new();
        loop {
            let Some(token) = tokens.next() else {
                return Err(not_a_function(Span::call_site()));
            };
            if is_punctuation(Some(&token), '#')
                && let Some(TokenTree::Group(attribute)) = tokens.peek()
                && kind == Kind::Test
                && attribute.stream().to_string() == "test"
            {
                let message = "a second `test` attribute; `greenpatch::test` alone makes it a test";
                return Err(Error::new(attribute.span(), message));
            }
            let word = match &token {
                TokenTree::Ident(word) => word.to_string(),
                _ => String::new(),
            };
            match word.as_str() {
                "async" => {
                    let message = "the body is blocking code, which green threads make concurrent: remove `async`";
                    return Err(Error::new(token.span(), message));
                }
                "struct" | "enum" | "union" | "mod" | "trait" | "impl" | "static" | "type"
                | "use" => {
                    return Err(not_a_function(token.span()));
                }
                _ => {}
            }
            before.extend([token]);
            if word == "fn" {
                break;
            }
        }
        // The name, and what the compiler will find wrong if it is there.
        loop {
            match tokens.next() {
                Some(TokenTree::Group(arguments))
                    if arguments.delimiter() == Delimiter::Parenthesis =>
                {
                    if !arguments.stream().is_empty() {
                        let message = format!("the function of `{attribute}` takes no arguments");
                        return Err(Error::new(arguments.span(), message));
                    }
                    before.extend([TokenTree::from(arguments)]);
                    break;
                }
                Some(token) => before.extend([token]),
                None => return Err(not_a_function(Span::call_site())),
            }
        }
        let mut rest: Vec<_> = tokens.collect();
        let Some(TokenTree::Group(body)) = rest.pop() else {
            return Err(not_a_function(Span::call_site()));
        };
        let returns_some =
            matches!(rest.get(2), Some(TokenTree::Ident(word)) if word.to_string() == "impl");
        Ok(Function {
            before,
            returns: rest.into_iter().collect(),
            returns_some,
            body,
        })
    }

    fn expand(self, settings: TokenStream, kind: Kind) -> TokenStream {
        let code = |text: &str| text.parse::<TokenStream>().expect("tokens of Rust");
        let mut closure = code("||");
        if !self.returns_some {
            closure.extend(self.returns.clone());
        }
        closure.extend([TokenTree::from(self.body)]);
        let build = code("match ::greenpatch::Runtime::builder()")
            .chain(settings)
            .chain(code(".build()"));
        let run = code("::core::result::Result::Ok(runtime) => runtime.run")
            .chain(group(Delimiter::Parenthesis, closure).into())
            .chain(code(
                ", ::core::result::Result::Err(error) => \
                 ::core::panic!(\"cannot build the runtime: {error}\"),",
            ));
        let body = build.chain(group(Delimiter::Brace, run).into());
        let mark = match kind {
            Kind::Main => TokenStream::new(),
            Kind::Test => code("#[::core::prelude::v1::test]"),
        };
        mark.chain(self.before)
            .chain(self.returns)
            .chain(group(Delimiter::Brace, body).into())
    }
}
