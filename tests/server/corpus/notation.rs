//! The notation of the cases, which `README.md` describes.

use std::fs;
use std::path::Path;

/// A file of cases.
pub(crate) struct Topic {
    /// Arguments for the server.
    pub(crate) settings: String,
    pub(crate) cases: Vec<Case>,
}

/// What happens on one connection.
#[derive(Clone)]
pub(crate) struct Case {
    /// The topic's name and the case's own.
    pub(crate) name: String,
    /// Whether it is about time-outs.
    pub(crate) waits: bool,
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone)]
pub(crate) enum Step {
    /// The client sends this.
    Send(Vec<u8>),
    /// The client sends no more.
    End,
    /// The server answers.
    Receive(Answer),
    /// The server closes the connection.
    SeeEnd,
}

/// What a case says about an answer.
#[derive(Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Whether the server closes the connection after it.
    pub(crate) closes: bool,
    /// Whether it has no content though its head may tell a length.
    bodiless: bool,
    /// Names of fields, and their values if they are to be there.
    fields: Vec<(String, Option<String>)>,
    /// All of the content, if that counts.
    content: Option<String>,
}

impl Topic {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Topic {
        let text = fs::read_to_string(path).expect("a topic is UTF-8");
        let stem = path.file_stem().expect("a file").to_string_lossy();
        let mut topic = Topic {
            settings: String::new(),
            cases: Vec::new(),
        };
        for (number, line) in text.lines().enumerate() {
            if let Err(fault) = topic.take_line(&stem, line) {
                panic!("{}:{}: {fault}: {line}", path.display(), number + 1);
            }
        }
        topic
    }

    fn take_line(&mut self, stem: &str, line: &str) -> Result<(), String> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(settings) = line.strip_prefix("settings: ") {
            self.settings = settings.into();
            return Ok(());
        }
        let (kind, rest) = line.split_at(1);
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        if !matches!(kind, ">" | "*" | "<" | "~" | "|") {
            self.cases.push(Case {
                name: format!("{stem}/{line}"),
                waits: self.settings.contains("timeout"),
                steps: Vec::new(),
            });
            return Ok(());
        }
        let case = self.cases.last_mut().ok_or("no case has begun")?;
        match (kind, case.steps.last_mut()) {
            (">", Some(Step::Send(bytes))) => bytes.extend(unescape(rest)?),
            (">", _) => case.steps.push(Step::Send(unescape(rest)?)),
            ("*", _) if rest == "end" => case.steps.push(Step::End),
            ("<", _) if rest == "end" => case.steps.push(Step::SeeEnd),
            ("<", _) => case.steps.push(Step::Receive(Answer::read(rest)?)),
            ("~", Some(Step::Receive(answer))) => answer.fields.push(match rest.split_once(": ") {
                Some((name, value)) => (name.into(), Some(value.into())),
                None => {
                    let name = rest.strip_prefix('!').ok_or("no value, and no '!'")?;
                    (name.into(), None)
                }
            }),
            ("|", Some(Step::Receive(answer))) => {
                let content = answer.content.get_or_insert_default();
                content.push_str(rest);
                content.push('\n');
            }
            _ => return Err("stands at no such place".into()),
        }
        Ok(())
    }
}

impl Case {
    /// The same case as a server plays it that closes each connection after one answer.
    pub(crate) fn of_one_answer(&self) -> Case {
        let mut case = self.clone();
        let mut last = None;
        for (index, step) in case.steps.iter_mut().enumerate() {
            match step {
                Step::Receive(answer) if answer.status != 100 => {
                    answer.closes = true;
                    answer.fields.retain(|(name, _)| name != "connection");
                    last = Some(index);
                    break;
                }
                _ => {}
            }
        }
        if let Some(last) = last {
            case.steps.truncate(last + 1);
        }
        case
    }

    /// Bytes that the client sends.
    pub(crate) fn length(&self) -> usize {
        let sent = self.steps.iter().map(|step| match step {
            Step::Send(bytes) => bytes.len(),
            _ => 0,
        });
        sent.sum()
    }
}

impl Answer {
    /// An answer of this status and content, after which the connection ends.
    pub(crate) fn closing(status: u16, content: &str) -> Answer {
        Answer {
            status,
            closes: true,
            content: Some(content.into()),
            ..Answer::default()
        }
    }

    fn read(text: &str) -> Result<Answer, String> {
        let mut words = text.split(' ');
        let status = words.next().unwrap_or_default();
        let mut answer = Answer {
            status: status.parse().map_err(|_| "no status")?,
            ..Answer::default()
        };
        for word in words {
            match word {
                "close" => answer.closes = true,
                "bodiless" => answer.bodiless = true,
                _ => return Err(format!("unknown word {word}")),
            }
        }
        Ok(answer)
    }

    /// Whether content follows an answer of this status.
    pub(crate) fn has_content(&self, status: u16) -> bool {
        !self.bodiless && status >= 200 && !matches!(status, 204 | 304)
    }

    /// Tells what is otherwise in the head of an answer.
    pub(crate) fn check_head(
        &self,
        status: u16,
        fields: &[(String, String)],
    ) -> Result<(), String> {
        if self.status != status {
            return Err(format!("{status} instead of {}", self.status));
        }
        let value_of = |name: &str| {
            let field = fields.iter().find(|(it, _)| it == name);
            field.map(|(_, value)| value.as_str())
        };
        let closes = value_of("connection") == Some("close");
        if closes != self.closes {
            let says = if closes { "says" } else { "does not say" };
            return Err(format!("{says} that it closes the connection"));
        }
        for (name, expected) in &self.fields {
            let value = value_of(name);
            let is_right = match expected.as_deref() {
                Some("*") => value.is_some(),
                expected => value == expected,
            };
            if !is_right {
                return Err(format!("{name} is {value:?} instead of {expected:?}"));
            }
        }
        Ok(())
    }

    /// Tells what is otherwise in the content of an answer.
    pub(crate) fn check_content(&self, content: &[u8]) -> Result<(), String> {
        match &self.content {
            Some(expected) if expected.as_bytes() != content => Err(format!(
                "{:?} instead of {expected:?}",
                String::from_utf8_lossy(content)
            )),
            _ => Ok(()),
        }
    }
}

/// The bytes that a `>` line stands for.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut characters = text.bytes();
    while let Some(byte) = characters.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match characters.next() {
            Some(b'r') => bytes.push(b'\r'),
            Some(b'n') => bytes.push(b'\n'),
            Some(b't') => bytes.push(b'\t'),
            Some(b'0') => bytes.push(0),
            Some(b'\\') => bytes.push(b'\\'),
            Some(b'x') => {
                let digits: Vec<u8> = characters.by_ref().take(2).collect();
                let digits = str::from_utf8(&digits).map_err(|error| error.to_string())?;
                bytes.push(u8::from_str_radix(digits, 16).map_err(|error| error.to_string())?);
            }
            Some(b'{') => {
                let inside: Vec<u8> = characters.by_ref().take_while(|&it| it != b'}').collect();
                let count = match &inside[..] {
                    [_, b'*', count @ ..] => str::from_utf8(count).unwrap_or_default().parse(),
                    _ => return Err("braces hold CHARACTER*COUNT".into()),
                };
                let count: usize = count.map_err(|_| "no count")?;
                bytes.resize(bytes.len() + count, inside[0]);
            }
            None => return Ok(bytes),
            Some(other) => return Err(format!("unknown escape '{}'", other.escape_ascii())),
        }
    }
    bytes.extend_from_slice(b"\r\n");
    Ok(bytes)
}
