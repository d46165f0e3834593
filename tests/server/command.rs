//! The command line of a server: where settings come from, what is said about wrong ones, and the pages made of their table.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use harness::Directory;

/// Runs `greenpatch` with these arguments in a directory, with these variables and no others of ours.
fn greenpatch(directory: &Directory, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_greenpatch"));
    let ours = |name: &str| {
        name.starts_with("GREENPATCH_")
            || ["PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"].contains(&name)
    };
    for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    command
        .current_dir(directory.path())
        .envs(variables.iter().copied())
        .args(arguments)
        .output()
        .expect("the command runs")
}

/// What a command that succeeds prints, and nothing on standard error.
fn printed(output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {errors}", output.status);
    assert_eq!(errors, "");
    String::from_utf8(output.stdout).expect("text")
}

/// What a command that is refused says: nothing on standard output, the exit code for wrong usage.
fn refused(output: Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    String::from_utf8(output.stderr).expect("text")
}

/// The settings that `--print-config` prints, each with its origin.
fn settings(
    directory: &Directory,
    variables: &[(&str, &str)],
    arguments: &[&str],
) -> BTreeMap<String, (String, String)> {
    let arguments = [&["serve", "--print-config"], arguments].concat();
    let text = printed(greenpatch(directory, variables, &arguments));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let set = lines.filter_map(|line| {
        let (key, rest) = line.split_once(" = ")?;
        let (value, origin) = rest.rsplit_once(" # ")?;
        Some((key.to_owned(), (value.to_owned(), origin.to_owned())))
    });
    set.collect()
}

fn write(directory: &Directory, name: &str, text: &str) {
    fs::write(directory.path().join(name), text).expect("the directory can be written to");
}

fn assert_set(settings: &BTreeMap<String, (String, String)>, key: &str, value: &str, origin: &str) {
    let expected = (value.to_owned(), origin.to_owned());
    assert_eq!(settings.get(key), Some(&expected), "{key}");
}

#[test]
fn options_win_over_the_environment_and_that_over_the_file() {
    let directory = Directory::new();
    write(
        &directory,
        "greenpatch.toml",
        "workers = 2\nthreads = 2\nbacklog = 2\ntimeout = 2\nkeep_alive = 7\n",
    );
    let variables = [
        ("WEB_CONCURRENCY", "9"),
        ("FORWARDED_ALLOW_IPS", "10.0.0.1"),
        ("GREENPATCH_THREADS", "3"),
        ("GREENPATCH_BACKLOG", "3"),
        ("GREENPATCH_TIMEOUT", "3"),
        ("GREENPATCH_CMD_ARGS", "--backlog 4 -t '4.5'"),
    ];
    let settings = settings(&directory, &variables, &["--timeout", "5"]);
    assert_set(&settings, "workers", "2", "greenpatch.toml:1");
    assert_set(&settings, "threads", "3", "environment GREENPATCH_THREADS");
    assert_set(&settings, "backlog", "4", "GREENPATCH_CMD_ARGS");
    assert_set(&settings, "timeout", "5", "command line");
    assert_set(&settings, "keep_alive", "7", "greenpatch.toml:5");
    let origin = "environment FORWARDED_ALLOW_IPS";
    assert_set(&settings, "forwarded_allow_ips", "\"10.0.0.1\"", origin);
    assert_set(&settings, "worker_class", "\"sync\"", "default");
}

#[test]
fn the_file_is_named_by_an_option_or_the_environment() {
    let directory = Directory::new();
    write(&directory, "greenpatch.toml", "workers = 2\n");
    write(&directory, "a.toml", "workers = 3\n");
    write(&directory, "b.toml", "workers = 4\n");
    let named = [("GREENPATCH_CONFIG", "a.toml")];
    let workers = |variables: &[(&str, &str)], arguments: &[&str]| {
        settings(&directory, variables, arguments)["workers"]
            .1
            .clone()
    };
    assert_eq!(workers(&[], &[]), "greenpatch.toml:1");
    assert_eq!(workers(&named, &[]), "a.toml:1");
    assert_eq!(workers(&named, &["-c", "b.toml"]), "b.toml:1");
    let arguments = [("GREENPATCH_CMD_ARGS", "-c b.toml")];
    assert_eq!(workers(&arguments, &[]), "b.toml:1");
}

#[test]
fn options_that_list_are_given_several_times_and_others_count_last() {
    let directory = Directory::new();
    let arguments = [
        "-b",
        "127.0.0.1:1",
        "--bind=unix:/run/a,b",
        "-w",
        "2",
        "-w",
        "3",
    ];
    let settings = settings(&directory, &[], &arguments);
    let addresses = r#"["127.0.0.1:1", "unix:/run/a,b"]"#;
    assert_set(&settings, "bind", addresses, "command line");
    assert_set(&settings, "workers", "3", "command line");
}

#[test]
fn a_switch_is_an_option_alone_and_can_be_switched_off_again() {
    let directory = Directory::new();
    write(&directory, "greenpatch.toml", "half_close = true\n");
    let on = settings(&directory, &[], &["--reload", "--proxy-protocol"]);
    assert_set(&on, "reload", "true", "command line");
    assert_set(&on, "proxy_protocol", "\"auto\"", "command line");
    assert_set(&on, "half_close", "true", "greenpatch.toml:1");
    let off = settings(
        &directory,
        &[],
        &["--half-close=off", "--proxy-protocol", "v2"],
    );
    assert_set(&off, "half_close", "false", "command line");
    assert_set(&off, "proxy_protocol", "\"v2\"", "command line");
}

#[test]
fn what_print_config_prints_is_a_file_that_sets_the_same() {
    let directory = Directory::new();
    let everything = [
        "-b",
        "[::1]:80",
        "-b",
        "unix:/run/app's \"socket\".sock",
        "--admin-bind",
        "127.0.0.1:9",
        "-k",
        "gevent",
        "-w",
        "auto",
        "--stack-size",
        "256K",
        "--patch",
        "time,socket",
        "--half-close",
        "-t",
        "0",
        "--request-timeout",
        "1m 30s",
        "--keep-alive",
        "0.25",
        "--limit-request-body",
        "0",
        "--limit-request-line",
        "8K",
        "--max-requests",
        "1000",
        "--max-requests-jitter",
        "50",
        "--max-memory",
        "1G",
        "--max-lifetime",
        "1h",
        "--proxy-protocol",
        "--proxy-allow-from",
        "10.1.2.3/8,::1",
        "--forwarded-allow-ips",
        "*",
        "--access-logfile",
        "-",
        "--access-logformat",
        "%(h)s \\ # '%(r)s'",
        "--error-logfile",
        "a \"b\"\\.log",
        "--log-level",
        "warning",
        "--log-format",
        "json",
        "-p",
        "run.pid",
        "-u",
        "root",
        "-g",
        "0",
        "-m",
        "027",
        "--chdir",
        "..",
        "-n",
        "app",
        "--reload",
        "--reload-extra-file",
        "a",
    ];
    let arguments = [&["serve", "--print-config"], &everything[..]].concat();
    let first = printed(greenpatch(&directory, &[], &arguments));
    write(&directory, "a.toml", &first);
    let again = ["serve", "--print-config", "-c", "a.toml"];
    let second = printed(greenpatch(&directory, &[], &again));
    let values = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| match line.rsplit_once(" # ") {
            Some((setting, _)) if !line.starts_with('#') => setting.to_owned(),
            _ => line.to_owned(),
        });
        lines.collect()
    };
    assert_eq!(values(&first), values(&second));
    assert!(first.contains("timeout = 0 # command line"));
    assert!(first.contains("request_timeout = 90 # command line"));
    assert!(first.contains("umask = \"0o027\" # command line"));
}

#[test]
fn a_wrong_value_is_told_with_setting_origin_and_remedy() {
    let directory = Directory::new();
    write(&directory, "greenpatch.toml", "\nworkers = 0\n");
    let variables = [
        ("GREENPATCH_KEEP_ALIVE", "long"),
        ("GREENPATCH_CMD_ARGS", "-m 22"),
    ];
    let arguments = [
        "serve",
        "-b",
        "127.0.0.1:1",
        "-b",
        "::1",
        "-k",
        "tornado",
        "--threads",
        "-1",
    ];
    let errors = refused(greenpatch(&directory, &variables, &arguments));
    let lines: Vec<&str> = errors.lines().collect();
    let seconds =
        "give seconds, such as 30 or 1.5, or a time with units, such as 500ms, 5m or 1h 30m";
    assert_eq!(
        lines,
        [
            "error: greenpatch.toml:2: workers = '0': give a whole number, 1 to 1024, or auto",
            &format!("error: GREENPATCH_KEEP_ALIVE='long' in the environment: {seconds}"),
            "error: --umask '22' in GREENPATCH_CMD_ARGS: give octal digits that begin with 0, such as 022 or 0o022",
            "error: --bind '::1' on the command line: '::1' has an IPv6 address without brackets; write HOST:PORT \
             (127.0.0.1:8000, [::1]:8000, :8000), unix:PATH or fd://NUMBER",
            "error: --worker-class 'tornado' on the command line: give sync, gthread, green or async",
            "error: --threads '-1' on the command line: give a whole number, 1 to 4096",
        ]
    );
}

#[test]
fn an_unknown_key_leads_to_the_nearest_one() {
    let directory = Directory::new();
    write(
        &directory,
        "a.toml",
        "worker_clas = 'green'\npreload_app = true\n",
    );
    let errors = refused(greenpatch(&directory, &[], &["serve", "-c", "a.toml"]));
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(
        lines,
        [
            "error: a.toml:2: preload_app is no setting; it is gunicorn's: each worker starts the program itself, which takes \
             milliseconds; leave it out",
            "error: a.toml:1: worker_clas is no setting; did you mean worker_class?",
        ]
    );
}

#[test]
fn an_unknown_option_leads_to_the_nearest_one_or_to_what_there_is_instead() {
    let directory = Directory::new();
    let errors = refused(greenpatch(&directory, &[], &["serve", "--wrokers", "2"]));
    assert!(
        errors.contains("a similar argument exists: '--workers'"),
        "{errors}"
    );
    let errors = refused(greenpatch(&directory, &[], &["serve", "--daemon"]));
    assert!(errors.contains("it is gunicorn's: let systemd"), "{errors}");
    let variables = [("GREENPATCH_CMD_ARGS", "--daemon")];
    let errors = refused(greenpatch(&directory, &variables, &["serve"]));
    assert!(
        errors.starts_with("error: GREENPATCH_CMD_ARGS in the environment: unexpected argument '--daemon' found; it is"),
        "{errors}"
    );
    let variables = [("GREENPATCH_CMD_ARGS", "-n 'app")];
    let errors = refused(greenpatch(&directory, &variables, &["serve"]));
    assert!(
        errors.contains("a quotation mark is not closed"),
        "{errors}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = Directory::new();
    let errors = refused(greenpatch(
        &directory,
        &[],
        &["serve", "-c", "missing.toml"],
    ));
    assert!(
        errors.starts_with("error: missing.toml: cannot read the settings' file: No such file"),
        "{errors}"
    );
}

#[test]
fn check_config_says_what_is_wrong_and_serves_nothing() {
    let directory = Directory::new();
    let output = greenpatch(&directory, &[], &["serve", "--check-config"]);
    assert_eq!(printed(output), "");
    let wrong = ["serve", "--check-config", "--client-certs", "required"];
    let errors = refused(greenpatch(&directory, &[], &wrong));
    assert_eq!(errors.lines().count(), 2, "{errors}");
    let missing = ["serve", "--check-config", "--certfile", "missing.pem"];
    let errors = refused(greenpatch(&directory, &[], &missing));
    assert!(
        errors.starts_with("error: ") && errors.contains("missing.pem"),
        "{errors}"
    );
    let idle = ["serve", "--check-config", "--threads", "4", "-k", "green"];
    let output = greenpatch(&directory, &[("GREENPATCH_WROKERS", "2")], &idle);
    assert!(output.status.success());
    let warnings = String::from_utf8(output.stderr).expect("text");
    assert_eq!(
        warnings,
        "warning: threads (command line) changes nothing: worker class green has no pool of threads; use -k gthread with it\n\
         warning: the environment variable GREENPATCH_WROKERS sets nothing; did you mean GREENPATCH_WORKERS?\n"
    );
}

#[test]
fn the_page_of_settings_is_the_one_that_the_table_makes() {
    let page = printed(greenpatch(
        &Directory::new(),
        &[],
        &["--generate", "settings"],
    ));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("SETTINGS.md");
    let written = fs::read_to_string(&path).expect("the page is there");
    assert!(
        page == written,
        "server/SETTINGS.md is not current; run: cargo run -- --generate settings > server/SETTINGS.md"
    );
}

#[test]
fn completions_and_the_man_page_know_every_setting() {
    let directory = Directory::new();
    let keys = settings(&directory, &[], &[]);
    for page in [
        "complete-bash",
        "complete-elvish",
        "complete-fish",
        "complete-powershell",
        "complete-zsh",
    ] {
        let text = printed(greenpatch(&directory, &[], &["--generate", page]));
        for key in keys.keys() {
            let option = key.replace('_', "-");
            assert!(text.contains(&option), "{page} lacks {option}");
        }
        assert!(text.contains("gthread"), "{page} offers no worker classes");
    }
    let man = printed(greenpatch(&directory, &[], &["serve", "--generate", "man"]));
    for key in keys.keys() {
        let option = key.replace('_', "\\-");
        assert!(
            man.contains(&format!("\\-\\-{option}")),
            "the man page lacks {key}"
        );
    }
}

/// The files that show how to run a server for good.
fn deployment_file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(name);
    fs::read_to_string(&path).expect("the file is there")
}

#[test]
fn the_options_in_the_deployment_files_are_right() {
    let directory = Directory::new();
    let service = deployment_file("app.service");
    let starts = service
        .lines()
        .filter_map(|line| line.strip_prefix("ExecStart="));
    // In comments, a line of options stands alone.
    let notes = ["nginx.conf", "app.logrotate"].map(deployment_file);
    let notes = notes.iter().flat_map(|text| text.lines());
    let options = notes.filter_map(|line| line.strip_prefix("#   --"));
    let lines: Vec<String> = starts
        .filter_map(|start| start.split_once(' ').map(|(_, options)| options.to_owned()))
        .chain(options.map(|options| format!("--{options}")))
        .collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let arguments = [&["serve", "--check-config"], &words[..]].concat();
        assert_eq!(
            printed(greenpatch(&directory, &[], &arguments)),
            "",
            "{line}"
        );
    }
}

#[test]
fn the_variables_in_the_dockerfile_are_right() {
    let dockerfile = deployment_file("Dockerfile");
    let code = dockerfile.lines().filter(|line| !line.starts_with('#'));
    let words = code.flat_map(str::split_whitespace);
    let variables: Vec<(&str, &str)> = words
        .filter(|word| word.starts_with("GREENPATCH_"))
        .filter_map(|word| word.split_once('='))
        .collect();
    let set = settings(&Directory::new(), &variables, &[]);
    let origins: Vec<&str> = set.values().map(|(_, origin)| origin.as_str()).collect();
    for (name, _) in &variables {
        let origin = format!("environment {name}");
        assert!(origins.contains(&origin.as_str()), "{name} sets nothing");
    }
    assert!(variables.len() > 3, "{variables:?}");
}
