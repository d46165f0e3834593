//! hyper's timer, by the runtime's.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use greenpatch::future::{Handle, Sleep};
use pin_project_lite::pin_project;

/// Makes timers of one runtime, on any thread.
#[derive(Clone)]
pub(super) struct Timer(pub(super) Handle);

impl hyper::rt::Timer for Timer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(HyperSleep {
            sleep: self.0.sleep(duration),
        })
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(HyperSleep {
            sleep: self.0.sleep_until(deadline),
        })
    }
}

pin_project! {
    struct HyperSleep {
        #[pin]
        sleep: Sleep,
    }
}

impl Future for HyperSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.project().sleep.poll(context)
    }
}

impl hyper::rt::Sleep for HyperSleep {}
