//! The OS thread of a worker.

use std::sync::Arc;
use std::{io, ptr, thread};

use crate::base::thread_counts::CountedThread;
use crate::body::native_stack::NativeStack;
use crate::body::setxid;
use crate::sched::context::{self, OwnWork};
use crate::sched::overflow;
use crate::sched::scheduler::Shared;
use crate::sched::worker::{Leave, Worker};

/// Starts an OS thread for the worker at `index`, which is counted as serving.
pub(crate) fn start(shared: &Arc<Shared>, index: usize) -> io::Result<()> {
    let name = format!("{}-{index}", shared.settings.name);
    let shared = shared.clone();
    thread::Builder::new().name(name).spawn(move || {
        let _own = OwnWork::thread();
        let _counted = CountedThread::own_thread();
        let _entry = setxid::ThreadEntry::new();
        let _stack = NativeStack::of_this_thread().expect("glibc tells a thread of its own stack");
        let _alternate_stack = overflow::AlternateStack::install();
        // SAFETY: this OS thread was started to serve at `index`.
        let worker = unsafe { Worker::new(shared, index) };
        worker.shard.progress.begin();
        context::set_worker(&worker);
        if worker.run() == Leave::Over {
            worker.shared.worker_leaves();
        }
        context::set_worker(ptr::null());
    })?;
    Ok(())
}
