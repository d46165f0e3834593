//! Pages that are made of the table: shell completions, the man page, and the page of all settings.

use std::fmt::Write;

use clap::{Command, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

use super::absent::ABSENT;
use super::kinds::Form;
use super::table::{Group, Setting, TABLE};

/// A page that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Page {
    /// Completions for bash.
    CompleteBash,
    /// Completions for elvish.
    CompleteElvish,
    /// Completions for fish.
    CompleteFish,
    /// Completions for PowerShell.
    CompletePowershell,
    /// Completions for zsh.
    CompleteZsh,
    /// The man page, for man.
    Man,
    /// The settings, as Markdown.
    Settings,
}

/// Makes a page of a command.
pub(crate) fn page(command: &Command, page: Page) -> String {
    let shell = match page {
        Page::CompleteBash => Shell::Bash,
        Page::CompleteElvish => Shell::Elvish,
        Page::CompleteFish => Shell::Fish,
        Page::CompletePowershell => Shell::PowerShell,
        Page::CompleteZsh => Shell::Zsh,
        Page::Man => return man(command),
        Page::Settings => return settings(),
    };
    let mut command = command.clone();
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn man(command: &Command) -> String {
    let mut text = Vec::new();
    let date = concat!("greenpatch-server ", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone())
        .date("")
        .source(date)
        .render(&mut text)
        .expect("a vector takes all that is written to it");
    String::from_utf8_lossy(&text).into_owned()
}

/// How the page of settings begins.
const HEAD: &str = "\
# Settings of a server

<!-- Made from the table in src/command/table.rs by `greenpatch --generate settings`. -->

A setting can be given as an option, in the environment, or in a TOML file: `greenpatch.toml` in the working directory, or what
`-c FILE` names. Options win over the environment, and that wins over the file. `GREENPATCH_CMD_ARGS` holds further options, which
win over other variables. The names, meanings and defaults are gunicorn's where it has the setting.

```toml
bind = [\"0.0.0.0:8000\", \"unix:/run/app.sock\"]
worker_class = \"green\"
workers = \"auto\"
access_logfile = \"-\"

[application] # is left to the application
```

Times are seconds, or have units: `1.5`, `500ms`, `5m`, `1h 30m`. Sizes are bytes, or have units of 1024: `65536`, `64K`, `16M`, `1G`.
`--print-config` prints all settings with where each comes from, as a file; `--check-config` only says what is wrong with them.
";

/// How the list of what is not there begins.
const ABSENT_HEAD: &str = "
## gunicorn's settings that are not here

An error says the same when one is given. The Python hooks (`on_starting`, `post_fork`, `worker_int` and so on) are not here either:
an application does in its own `main` what has to be done before and after.

| setting | instead |
|---|---|
";

/// The page of settings.
fn settings() -> String {
    let mut text = HEAD.to_owned();
    for group in Group::ALL {
        // Writing to a string cannot fail, here and below.
        let _ = write!(text, "\n## {}\n", group.title());
        for setting in TABLE.iter().filter(|setting| setting.group == group) {
            let _ = write!(text, "\n{}", section(setting));
        }
    }
    text.push_str(ABSENT_HEAD);
    for (name, remedy) in ABSENT {
        let _ = writeln!(text, "| `{name}` | {remedy} |");
    }
    text
}

fn section(setting: &Setting) -> String {
    let name = setting.name;
    let mut options = vec![match setting.form {
        Form::Optional("true") => format!("`--{name}`"),
        Form::Optional(_) => format!("`--{name} [{}]`", setting.placeholder),
        Form::One | Form::Joined | Form::Several => format!("`--{name} {}`", setting.placeholder),
    }];
    options.extend(setting.short.map(|letter| format!("`-{letter}`")));
    let aliases = setting.aliases.iter();
    options.extend(aliases.map(|alias| match alias.contains('-') {
        true => format!("`--{alias}`"),
        false => format!("`{alias}`"),
    }));
    let mut environment = format!("`{}`", setting.variable());
    if let Some(fallback) = setting.fallback {
        environment += &format!(", or else `{}`", fallback.variable);
    }
    format!(
        "### {}\n\n{}. {}\n\nFile `{}`, environment {environment}, default {}.\n",
        options.join(", "),
        setting.summary,
        setting.details,
        setting.key(),
        default(setting),
    )
}

fn default(setting: &Setting) -> String {
    let default = setting.default();
    if default == setting.unset {
        return default;
    }
    format!("`{default}`")
}
