//! The servers: how each is started, and what it runs. A row of [`SERVERS`] is all there is to a server.

use crate::tool::Tool;
use Family::{Axum, Flask, FlaskPatched, Functions, Rack, Sanic, Text, TextAtOnce, Werkzeug, Wsgi};

/// What a server runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Application {
    /// The first seed's handler: it prints `hello N`, sleeps, prints `world`.
    Order { sleep: f64 },
    /// The second seed's: five uploads at once, and a sum.
    Uploader,
    /// The third seed's hello.
    Json,
    /// The third seed's packages, of which `/rand` gives one.
    Pyaday,
    /// The fourth seed's: twelve bytes, at once or after a sleep.
    Text { sleep: f64 },
}

impl Application {
    /// Seconds that the handler sleeps.
    pub(crate) fn sleep(self) -> f64 {
        match self {
            Application::Order { sleep } | Application::Text { sleep } => sleep,
            Application::Uploader | Application::Json | Application::Pyaday => 0.0,
        }
    }
}

/// Servers that run the same programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Ours; the handlers are plain functions.
    Functions,
    /// Ours; handlers of an axum router, which block.
    Axum,
    /// WSGI servers, by module.
    Flask,
    /// The same with `eventlet.monkey_patch()` first.
    FlaskPatched,
    /// Flask's development server, by file.
    Werkzeug,
    /// Sanic, by file.
    Sanic,
    /// WSGI servers with no framework in between.
    Wsgi,
    /// Rack servers, by file.
    Rack,
    /// What serves the twelve bytes and nothing else, by itself.
    Text,
    /// The same, but its handler cannot wait.
    TextAtOnce,
}

impl Family {
    /// The words that `{application}` in a command stands for; none, if the family has no such program.
    pub(crate) fn words(self, application: Application) -> Option<&'static str> {
        Some(match (self, application) {
            (Family::Functions | Family::Axum, Application::Order { .. }) => {
                "{release}/greenpatch serve"
            }
            (Family::Functions, Application::Text { .. }) => "{release}/experiment_text",
            (Family::Functions, Application::Uploader) => "{release}/experiment_upload",
            (Family::Functions, Application::Json) => "{release}/experiment_json",
            (Family::Axum, Application::Json) => "{release}/experiment_json_axum",
            (Family::Functions, Application::Pyaday) => "{release}/experiment_rand",
            (Family::Axum, Application::Text { .. }) => "{release}/experiment_text_axum",
            (Family::Axum, Application::Uploader) => "{release}/experiment_upload_axum",
            (Family::Axum, Application::Pyaday) => "{release}/experiment_rand_axum",
            (Family::Flask, Application::Order { .. }) => "flask_order",
            (Family::FlaskPatched, Application::Order { .. }) => "flask_order_patched",
            (Family::Flask, Application::Uploader) => "flask_uploader:app",
            (Family::Flask, Application::Json | Application::Pyaday) => "main_flask:app",
            (Family::Flask, Application::Text { .. }) => "flask_text:app",
            (Family::Werkzeug, Application::Uploader) => "flask_uploader.py",
            (Family::Werkzeug, Application::Text { .. }) => "flask_text.py",
            (Family::Sanic, Application::Order { .. }) => "sanic_order.py",
            (Family::Sanic, Application::Uploader) => "sanic_uploader.py",
            (Family::Sanic, Application::Json | Application::Pyaday) => "main_sanic.py",
            (Family::Wsgi, Application::Text { .. }) => "text_wsgi:app",
            (Family::Rack, Application::Text { .. }) => "../ruby/text.ru",
            (Family::Text, Application::Text { .. }) => "",
            (Family::TextAtOnce, Application::Text { sleep: 0.0 }) => "",
            _ => return None,
        })
    }

    /// What follows the server's own words.
    pub(crate) fn last_words(self, application: Application) -> &'static str {
        match (self, application) {
            (Family::Functions | Family::Axum, Application::Order { .. }) => {
                "hello --sleep {sleep}"
            }
            _ => "",
        }
    }
}

/// A server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static Kind,
    pub(crate) family: Family,
    /// What makes this one of its kind.
    pub(crate) options: &'static str,
    /// Environment variable and value.
    pub(crate) environment: Option<(&'static str, &'static str)>,
    /// Whether `greenpatch run` starts it.
    is_under_us: bool,
}

/// Servers that are started in the same way: a command, in the directory of the Python applications.
///
/// `{address}`, `{port}`, `{workers}` and `{sleep}` are filled in; `{application}` and `{last}` are the family's words; `{release}` is the
/// directory of our programs, `{python}` that of a virtual environment's, and `{tool}` a program that was built.
#[derive(Debug)]
pub(crate) struct Kind {
    /// What must be there.
    tools: &'static [Tool],
    /// What comes before a server's own options.
    before: &'static str,
    /// What comes after them.
    after: &'static str,
}

impl Server {
    /// What must be there.
    pub(crate) fn tools(&self) -> impl Iterator<Item = Tool> {
        let ours = self.is_under_us.then_some(Tool::Ours);
        self.kind.tools.iter().copied().chain(ours)
    }

    /// The command that starts it with this application, in which names in braces are still to be filled in; none, if its family
    /// has no such program.
    pub(crate) fn command(&self, application: Application) -> Option<String> {
        let words = self.family.words(application)?;
        let run = match self.is_under_us {
            true => "{release}/greenpatch run --",
            false => "",
        };
        let command = [run, self.kind.before, self.options, self.kind.after].join(" ");
        let last = self.family.last_words(application);
        Some(
            command
                .replace("{application}", words)
                .replace("{last}", last),
        )
    }
}

static OURS: Kind = Kind {
    tools: &[Tool::Ours],
    before: "{application}",
    after: "-w {workers} -b {address} {last}",
};
/// In class async the form of the handler matters, and comes after the application's name.
static OURS_ASYNC: Kind = Kind {
    tools: &[Tool::Ours],
    before: "{application} -k async -w {workers} -b {address} {last}",
    after: "",
};
static TEN_LINES: Kind = Kind {
    tools: &[Tool::Ours],
    before: "{release}/experiment_ten_lines {address} {workers}",
    after: "",
};
const GUNICORN: &str = "{python}/gunicorn";
const GUNICORN_REST: &str = "-w {workers} -b {address} {application}";
static GUNICORN_25: Kind = Kind {
    tools: &[Tool::Gunicorn25],
    before: GUNICORN,
    after: GUNICORN_REST,
};
static GUNICORN_19: Kind = Kind {
    tools: &[Tool::Gunicorn19],
    before: GUNICORN,
    after: GUNICORN_REST,
};
static FILE: Kind = Kind {
    tools: &[Tool::Gunicorn25],
    before: "{python}/python",
    after: "{application} {port} {workers}",
};
static GRANIAN: Kind = Kind {
    tools: &[Tool::Gunicorn25],
    before: "{python}/granian --interface wsgi --backlog 2048",
    after: "--host 127.0.0.1 --port {port} --workers {workers} {application}",
};
static PEER: Kind = Kind {
    tools: &[Tool::Peers],
    before: "{tool}",
    after: "{address} {workers}",
};
static GO: Kind = Kind {
    tools: &[Tool::Go],
    before: "{tool}",
    after: "{address} {workers}",
};
static PUMA: Kind = Kind {
    tools: &[Tool::Puma],
    before: "{tool} --environment production --quiet --bind tcp://{address}",
    after: "{application}",
};
static JAVA: Kind = Kind {
    tools: &[Tool::Java],
    before: "java -Dsun.net.httpserver.maxIdleConnections=12000 -cp {tool} Text {address}",
    after: "",
};

const fn server(
    name: &'static str,
    kind: &'static Kind,
    family: Family,
    options: &'static str,
) -> Server {
    Server {
        name,
        kind,
        family,
        options,
        environment: None,
        is_under_us: false,
    }
}

const fn with(variable: (&'static str, &'static str), server: Server) -> Server {
    Server {
        environment: Some(variable),
        ..server
    }
}

/// The same server, with its threads green.
const fn under_us(server: Server) -> Server {
    Server {
        is_under_us: true,
        ..server
    }
}

/// All servers.
#[rustfmt::skip]
pub(crate) static SERVERS: &[Server] = &[
    server("ours, sync", &OURS, Functions, "-k sync --patch none"),
    server("ours, gthread, 4 threads", &OURS, Functions, "-k gthread --threads 4"),
    server("ours, green, not patched", &OURS, Functions, "-k green --patch none"),
    server("ours, green", &OURS, Functions, "-k green --worker-connections 12000"),
    server("ours, green, axum", &OURS, Axum, "-k green --worker-connections 12000"),
    server("ours, sync, patched", &OURS, Functions, "-k sync --patch all"),
    server("ours, async, std's sleep", &OURS_ASYNC, Functions, "--handler function"),
    server("ours, async, async sleep", &OURS_ASYNC, Functions, "--handler async"),
    server("ours, ten lines over std types", &TEN_LINES, TextAtOnce, ""),
    server("gunicorn 25 sync", &GUNICORN_25, Flask, "-k sync"),
    server("gunicorn 25 gthread, 4 threads", &GUNICORN_25, Flask, "-k gthread --threads 4"),
    server("gunicorn 25 gthread, 250 threads", &GUNICORN_25, Flask, "-k gthread --threads 250"),
    server("gunicorn 25 gthread, 500 threads", &GUNICORN_25, Flask, "-k gthread --threads 500"),
    server("gunicorn 25 gthread, 4,000 threads", &GUNICORN_25, Flask, "-k gthread --threads 4000 --worker-connections 12000"),
    server("gunicorn 25 gevent", &GUNICORN_25, Flask, "-k gevent"),
    server("gunicorn 25 gevent, 12,000 connections", &GUNICORN_25, Flask, "-k gevent --worker-connections 12000"),
    server("gunicorn 25 eventlet", &GUNICORN_25, Flask, "-k eventlet"),
    server("gunicorn 25 eventlet, monkey_patch", &GUNICORN_25, FlaskPatched, "-k eventlet"),
    server("gunicorn 25 sync, monkey_patch", &GUNICORN_25, FlaskPatched, "-k sync"),
    server("gunicorn 25 tornado", &GUNICORN_25, Flask, "-k tornado"),
    server("gunicorn 19 eventlet", &GUNICORN_19, Flask, "-k eventlet"),
    server("gunicorn 19 eventlet, monkey_patch", &GUNICORN_19, FlaskPatched, "-k eventlet"),
    server("gunicorn 19 sync, monkey_patch", &GUNICORN_19, FlaskPatched, "-k sync"),
    with(("HOW", "asyncio"), server("Sanic", &FILE, Sanic, "")),
    with(("HOW", "time"), server("Sanic, time.sleep", &FILE, Sanic, "")),
    with(("HOW", "mistake"), server("Sanic, await time.sleep", &FILE, Sanic, "")),
    with(("THREADED", "0"), server("Flask, one thread", &FILE, Werkzeug, "")),
    with(("THREADED", "1"), server("Flask, threaded", &FILE, Werkzeug, "")),
    server("Granian", &GRANIAN, Flask, "--blocking-threads 1"),
    server("Granian, 500 threads", &GRANIAN, Flask, "--blocking-threads 500"),
    server("Granian, no framework", &GRANIAN, Wsgi, "--blocking-threads 1"),
    under_us(server("greenpatch run, gthread, 500 threads", &GUNICORN_25, Flask, "-k gthread --threads 500")),
    under_us(server("greenpatch run, gthread, 4,000 threads", &GUNICORN_25, Flask, "-k gthread --threads 4000 --worker-connections 12000")),
    under_us(with(("THREADED", "1"), server("greenpatch run, Flask, threaded", &FILE, Werkzeug, ""))),
    server("puma, 500 threads", &PUMA, Rack, "--threads 500:500"),
    under_us(server("greenpatch run, puma, 500 threads", &PUMA, Rack, "--threads 500:500")),
    server("Java's HttpServer, 500 threads", &JAVA, Text, "500"),
    under_us(server("greenpatch run, Java's HttpServer, 500 threads", &JAVA, Text, "500")),
    server("epoll loop", &PEER, TextAtOnce, "epoll"),
    server("hyper", &PEER, Text, "hyper"),
    server("hyper, no time-outs", &PEER, Text, "hyper-bare"),
    server("axum", &PEER, Text, "axum"),
    server("actix-web", &PEER, Text, "actix-web"),
    server("may", &PEER, Text, "may"),
    server("may_minihttp", &PEER, Text, "may_minihttp"),
    server("OS threads", &PEER, Text, "threads"),
    server("Go net/http", &GO, Text, ""),
];

/// The server of that name.
pub(crate) fn find(name: &str) -> Option<&'static Server> {
    SERVERS.iter().find(|server| server.name == name)
}
