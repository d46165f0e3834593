//! What the kernel says of this process.

use std::fs;
use std::time::Duration;

/// Resident memory, in bytes.
pub fn resident_bytes() -> u64 {
    status_number("VmRSS:") * 1024
}

/// Kernel threads.
pub fn kernel_threads() -> u64 {
    status_number("Threads:")
}

/// The process's OS threads whose names begin so.
pub fn os_threads(prefix: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("the kernel lists the threads");
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with(prefix)).count()
}

/// Mappings of the address space.
pub fn mappings() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").expect("the kernel lists the mappings");
    maps.lines().count()
}

fn status_number(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the kernel gives the status");
    status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no number '{key}' in /proc/self/status"))
}

/// What the process has used of the processors so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Processor time in user and kernel mode.
    pub cpu: Duration,
    /// How often a thread went to sleep.
    pub waits: i64,
}

impl Usage {
    /// What it has used up to now.
    pub fn now() -> Usage {
        // SAFETY: rusage is plain data, for which zero is a value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: `usage` is writable.
        let result = unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
        assert_eq!(result, 0, "getrusage cannot fail for the calling process");
        Usage {
            cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
            waits: usage.ru_nvcsw,
        }
    }
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
}
