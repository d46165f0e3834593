//! The command line: the table's options for clap, and what a process was given of them.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Parser, ValueHint};

use super::absent::ABSENT;
use super::check;
use super::generate::{self, Page};
use super::kinds::{Form, Hint};
use super::load::{self, COMMAND_ARGUMENTS, CONFIG, Environment, Layers, Loaded};
use super::origin::{Given, Origin, SettingsError};
use super::table::{Group, Setting, TABLE};

/// The options of a server, as a process was given them: what [`load`](CommandLine::load) makes settings of.
///
/// The environment and the directory are remembered with them, so that the settings can be loaded again later. For a program with
/// options of its own it is a part of clap's:
///
/// ```
/// use clap::Parser;
/// use greenpatch_server::CommandLine;
///
/// #[derive(Parser)]
/// struct Arguments {
///     /// Who is greeted
///     #[arg(long, default_value = "world")]
///     greet: String,
///     #[command(flatten)]
///     server: CommandLine,
/// }
///
/// let arguments = Arguments::parse_from(["app", "--greet", "moon", "-k", "green", "-w", "2"]);
/// let settings = arguments.server.load()?.settings;
/// assert_eq!(settings.workers.get(), 2);
/// # Ok::<(), greenpatch_server::SettingsError>(())
/// ```
#[derive(Clone, Debug)]
pub struct CommandLine {
    options: Options,
    environment: Environment,
    directory: PathBuf,
}

/// What was given as options.
#[derive(Clone, Debug, Default)]
struct Options {
    given: Vec<Given>,
    file: Option<PathBuf>,
    check: bool,
    print: bool,
}

/// Before the names of our options in clap, so that a program's own do not collide with them.
macro_rules! id {
    ($name:expr) => {
        format!("server.{}", $name)
    };
}

impl Args for CommandLine {
    fn augment_args(command: Command) -> Command {
        let mut command = command.args([
            Arg::new(id!("config"))
                .short('c')
                .long("config")
                .help_heading("Settings")
                .value_name("FILE")
                .value_hint(ValueHint::FilePath)
                .help("File with settings, as TOML [default: greenpatch.toml, if it is there]")
                .long_help(format!(
                    "File with settings, as TOML\n\nA line a setting: the option's name with underscores, as in worker_class = \
                     \"green\". Options win over the environment, and that wins over the file. The file is read again at \
                     SIGHUP. The table [{}] is left to the application.\n\n[default: greenpatch.toml, if it is there] [env: \
                     {CONFIG}]",
                    super::file::APPLICATION
                )),
            Arg::new(id!("check-config"))
                .long("check-config")
                .help_heading("Settings")
                .action(ArgAction::SetTrue)
                .help("Say whether the settings are right, and do no more"),
            Arg::new(id!("print-config"))
                .long("print-config")
                .help_heading("Settings")
                .action(ArgAction::SetTrue)
                .help("Print the settings as a file, with the origin of each, and do no more"),
        ]);
        for group in Group::ALL {
            let settings = TABLE.iter().filter(|setting| setting.group == group);
            command = command.args(settings.map(argument));
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        CommandLine::augment_args(command)
    }
}

/// A setting as clap's argument.
fn argument(setting: &'static Setting) -> Arg {
    let default = setting.default();
    let environment = setting.variable();
    let summary = plain(setting.summary);
    let argument = Arg::new(id!(setting.name))
        .long(setting.name)
        .visible_aliases(setting.aliases)
        .help_heading(setting.group.title())
        .value_name(setting.placeholder)
        .value_parser(Words(setting.choices))
        .action(ArgAction::Append)
        // What is wrong with -1 is told in our words, not as an option that does not exist.
        .allow_negative_numbers(true)
        .value_hint(match setting.hint {
            Hint::File => ValueHint::FilePath,
            Hint::Directory => ValueHint::DirPath,
            Hint::User => ValueHint::Username,
            Hint::Other => ValueHint::Other,
        })
        .hide_possible_values(true)
        .help(format!("{summary} [default: {default}]"))
        .long_help(format!(
            "{summary}\n\n{}\n\n[default: {default}] [env: {environment}]",
            plain(setting.details)
        ));
    let argument = match setting.short {
        Some(letter) => argument.short(letter),
        None => argument,
    };
    match setting.form {
        // A switch's value is seldom given: without the '=', what follows is not its own.
        Form::Optional(alone @ "true") => argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value(alone),
        Form::Optional(alone) => argument.num_args(0..=1).default_missing_value(alone),
        Form::One | Form::Joined | Form::Several => argument,
    }
}

/// Markdown as a terminal shows it.
fn plain(text: &str) -> String {
    text.replace('`', "")
}

/// Takes every text, and offers these words to completion: what is wrong with a value is told in the same words wherever it comes
/// from.
#[derive(Clone)]
struct Words(&'static [&'static str]);

impl TypedValueParser for Words {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        if self.0.is_empty() {
            return None;
        }
        Some(Box::new(
            self.0.iter().map(|word| PossibleValue::new(*word)),
        ))
    }
}

impl FromArgMatches for CommandLine {
    fn from_arg_matches(matches: &ArgMatches) -> Result<CommandLine, clap::Error> {
        let directory = env::current_dir().map_err(|error| {
            let text = format!("the working directory cannot be told: {error}; go to another\n");
            clap::Error::raw(ErrorKind::Io, text)
        })?;
        Ok(CommandLine {
            options: Options::read(matches, &Origin::CommandLine),
            environment: Environment::new(env::vars_os()),
            directory,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = CommandLine::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Options {
    fn read(matches: &ArgMatches, origin: &Origin) -> Options {
        let given = TABLE.iter().enumerate().filter_map(|(index, setting)| {
            let texts = matches.get_many::<String>(&id!(setting.name))?;
            Some(Given {
                setting: index,
                written: format!("--{}", setting.name),
                texts: texts.cloned().collect(),
                origin: origin.clone(),
            })
        });
        let file = matches.get_one::<String>(&id!("config"));
        Options {
            given: given.collect(),
            file: file.map(PathBuf::from),
            check: matches.get_flag(&id!("check-config")),
            print: matches.get_flag(&id!("print-config")),
        }
    }

    /// Reads what the environment has of options.
    fn from_environment(environment: &Environment, faults: &mut Vec<String>) -> Options {
        let Some(text) = environment.get(COMMAND_ARGUMENTS, faults) else {
            return Options::default();
        };
        let Some(words) = shlex::split(&text) else {
            faults.push(format!(
                "{COMMAND_ARGUMENTS}='{text}' in the environment: a quotation mark is not closed; close it"
            ));
            return Options::default();
        };
        let command = Command::new(COMMAND_ARGUMENTS)
            .no_binary_name(true)
            .disable_help_flag(true);
        match CommandLine::augment_args(command).try_get_matches_from(words) {
            Ok(matches) => Options::read(&matches, &Origin::CommandArguments),
            Err(error) => {
                let text = explain(error).to_string();
                let lines = text.lines().map(str::trim);
                let told: Vec<&str> = lines
                    .filter_map(|line| {
                        let fault = line.strip_prefix("error: ");
                        fault.or_else(|| line.strip_prefix("tip: "))
                    })
                    .collect();
                let told = told.join("; ");
                faults.push(format!("{COMMAND_ARGUMENTS} in the environment: {told}"));
                Options::default()
            }
        }
    }
}

impl CommandLine {
    /// Makes settings of the defaults, the file, the environment and the options, of which later ones win. The file is read now,
    /// so that another call sees what has changed in it; those of TLS are, too, to see whether they can be used.
    ///
    /// # Errors
    /// Names every fault: the setting, its value, where it comes from, and what to do instead.
    pub fn load(&self) -> Result<Loaded, SettingsError> {
        let mut faults = Vec::new();
        let further = Options::from_environment(&self.environment, &mut faults);
        let named = self.options.file.clone().or(further.file);
        let named = named.or_else(|| {
            let path = self.environment.get(CONFIG, &mut faults);
            path.filter(|path| !path.is_empty()).map(PathBuf::from)
        });
        let layers = Layers {
            options: self.options.given.clone(),
            arguments: further.given,
            file: named,
        };
        let loaded = load::load(layers, &self.environment, &self.directory, faults)?;
        check::files(&loaded, &self.directory)?;
        Ok(loaded)
    }

    /// The directory in which the process was started.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Loads the settings, and does what `--check-config` and `--print-config` ask for: then, and after a fault, the result is the
    /// process's exit code, and all has been said on standard output and standard error.
    pub fn begin(&self) -> Result<Loaded, ExitCode> {
        let loaded = self.load().map_err(|error| {
            for fault in error.faults() {
                eprintln!("error: {fault}");
            }
            ExitCode::from(USAGE)
        })?;
        if self.options.print {
            return Err(print(&loaded.to_toml()));
        }
        if self.options.check {
            for warning in loaded.warnings() {
                eprintln!("warning: {warning}");
            }
            return Err(ExitCode::SUCCESS);
        }
        Ok(loaded)
    }

    /// Reads this process's command line as that of a server and nothing else. If there is nothing more to do, as after `--help` or
    /// a mistake, the result is its exit code.
    pub fn of_process() -> Result<CommandLine, ExitCode> {
        let mut words = env::args_os().peekable();
        let program = words.peek().map(PathBuf::from).unwrap_or_default();
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        CommandLine::parse(command(&name), words)
    }

    /// Reads a command line.
    fn parse(
        command: Command,
        words: impl IntoIterator<Item = OsString>,
    ) -> Result<CommandLine, ExitCode> {
        let matches = command.clone().try_get_matches_from(words).map_err(exit)?;
        if let Some(page) = matches.get_one::<Page>(&id!("generate")) {
            return Err(CommandLine::print_page(&command, *page));
        }
        CommandLine::from_arg_matches(&matches).map_err(exit)
    }

    /// Reads this process's command line as that of a program of which a server is a part, as [`Parser::parse`] does. If there is
    /// nothing more to do, as after `--help` or a mistake, the result is the process's exit code. A mistake with an option that
    /// only gunicorn has is explained.
    pub fn parse_as_part<P: Parser>() -> Result<P, ExitCode> {
        P::try_parse().map_err(exit)
    }

    /// Prints a page about a command, and gives the exit code for whether that went well.
    pub fn print_page(command: &Command, page: Page) -> ExitCode {
        print(&generate::page(command, page))
    }
}

/// The exit code after a mistake in the command line or the settings; clap's.
const USAGE: u8 = 2;

/// The command of a program that is a server and nothing else.
pub(crate) fn command(name: &str) -> Command {
    let command = Command::new(name.to_owned())
        .about("Serves an application over HTTP")
        .version(concat!(
            "(greenpatch-server ",
            env!("CARGO_PKG_VERSION"),
            ")"
        ));
    CommandLine::augment_args(command).arg(
        Arg::new(id!("generate"))
            .long("generate")
            .help_heading("Settings")
            .value_name("PAGE")
            .value_parser(clap::value_parser!(Page))
            .help("Print the man page, the page of settings, or a shell's completions, and do no more"),
    )
}

/// Says what clap has to say, and gives the exit code that belongs to it.
fn exit(error: clap::Error) -> ExitCode {
    let error = explain(error);
    // Nobody is there to hear that nobody can hear it.
    let _ = error.print();
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Adds to an option that is gunicorn's alone what there is instead.
fn explain(mut error: clap::Error) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let name = option.trim_start_matches('-').split('=').next();
    let row = ABSENT.iter().find(|(absent, _)| Some(*absent) == name);
    if let Some((_, remedy)) = row {
        let tip = format!("it is gunicorn's: {remedy}").into();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
        // Of the option that is spelt most like it, which is seldom meant.
        error.remove(ContextKind::SuggestedArg);
        error.remove(ContextKind::Usage);
    }
    error
}

/// Prints a page, and gives the exit code for whether that went well.
fn print(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads only the beginning, as head does, has what they want.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: standard output cannot be written to: {error}");
            ExitCode::FAILURE
        }
    }
}
