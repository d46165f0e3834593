//! What the kernel tells of this process's OS threads.

use std::ffi::CStr;
use std::fs;
use std::mem::MaybeUninit;
use std::time::Duration;

use rustix::io::Errno;

use crate::base::arch;

/// The state of a thread as the kernel gives it: `R` if it runs or could, `S` or `D` if it waits. `None` if the kernel
/// does not tell, as for one that has ended.
pub(crate) fn state(os_thread: i32) -> Option<char> {
    let line = fs::read_to_string(format!("/proc/self/task/{os_thread}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let (_, fields) = line.rsplit_once(") ")?;
    fields.chars().next()
}

/// A thread's name with zeros after it.
pub(crate) fn name(os_thread: i32) -> Option<[u8; 16]> {
    let text = fs::read(format!("/proc/self/task/{os_thread}/comm")).ok()?;
    let text = text.strip_suffix(b"\n").unwrap_or(&text);
    let mut name = [0; 16];
    name.get_mut(..text.len())?.copy_from_slice(text);
    Some(name)
}

/// Gives a thread a name.
pub(crate) fn set_name(os_thread: i32, name: &CStr) -> Result<(), Errno> {
    fs::write(format!("/proc/self/task/{os_thread}/comm"), name.to_bytes())
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// All threads that have not ended. The kernel lists a main thread that has exited as long as there are others.
pub(crate) fn all() -> Option<Vec<i32>> {
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let mut threads: Vec<i32> = fs::read_dir("/proc/self/task")
        .ok()?
        .map(|entry| number(entry.ok()?))
        .collect::<Option<_>>()?;
    let main = rustix::process::getpid().as_raw_pid();
    threads.retain(|&thread| thread != main || state(main) != Some('Z'));
    Some(threads)
}

/// Processor time that a thread has used, up to now; `None` if it has ended.
pub(crate) fn processor_time(os_thread: i32) -> Option<Duration> {
    /// In the number of a clock, below those of the thread: a thread's, not a process's, and as the scheduler counts.
    const OF_THREAD_BY_SCHEDULER: i32 = 6;
    let clock: libc::clockid_t = !os_thread << 3 | OF_THREAD_BY_SCHEDULER;
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    let arguments = [clock as usize, time.as_mut_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: the arguments are those of clock_gettime(2), the second the place of a timespec.
    if unsafe { arch::system_call(libc::SYS_clock_gettime, arguments) } != 0 {
        return None;
    }
    // SAFETY: zeroed, and filled in.
    let time = unsafe { time.assume_init() };
    let (seconds, nanos) = (time.tv_sec.try_into().ok()?, time.tv_nsec.try_into().ok()?);
    Some(Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    fn own_number() -> i32 {
        rustix::thread::gettid().as_raw_pid()
    }

    #[test]
    fn a_thread_that_runs_uses_its_time() {
        let (me, start) = (own_number(), processor_time(own_number()).unwrap());
        assert!(all().unwrap().contains(&me));
        assert_eq!(state(me), Some('R'));
        while processor_time(me).unwrap() < start + Duration::from_millis(5) {}
    }

    #[test]
    fn a_thread_that_waits_says_so_and_one_that_has_ended_says_nothing() {
        let (numbers, number) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            numbers.send(own_number()).unwrap();
            let _ = ends.recv();
        });
        let number = number.recv().unwrap();
        while state(number) != Some('S') {
            thread::yield_now();
        }
        drop(end);
        thread.join().unwrap();
        // The kernel may take a moment longer than the join.
        while state(number).is_some() || processor_time(number).is_some() {
            thread::yield_now();
        }
    }
}
