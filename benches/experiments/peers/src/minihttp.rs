//! may_minihttp, as its own example sets it up.

use std::io;
use std::time::Duration;

use may_minihttp::{HttpServer, HttpService, Request, Response};

use crate::{CONTENT, Outcome, Settings};

#[derive(Clone)]
struct Hello {
    wait: Duration,
}

impl HttpService for Hello {
    fn call(&mut self, _: Request, response: &mut Response) -> io::Result<()> {
        if !self.wait.is_zero() {
            may::coroutine::sleep(self.wait);
        }
        response.header("Content-Type: text/plain; charset=utf-8");
        response.body(CONTENT);
        Ok(())
    }
}

pub(crate) fn serve(settings: Settings) -> Outcome {
    may::config().set_workers(settings.threads);
    let server = HttpServer(Hello {
        wait: settings.wait,
    })
    .start(settings.address)?;
    // It ends only if a coroutine of its own panics.
    server.join().map_err(|_| "may_minihttp has panicked")?;
    Ok(())
}
