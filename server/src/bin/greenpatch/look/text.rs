//! A frame as text, all of it.

use std::fmt::Write;

use super::frame::{Frame, Latency, Requests, Totals};
use super::units::{bytes, percent, rate, time};

/// The line about requests.
pub(super) fn requests(requests: &Requests) -> String {
    let Requests {
        per_second,
        errors_per_second,
        in_flight,
        connections,
        latency,
    } = requests;
    let Latency { p50, p90, p99 } = *latency;
    format!(
        "{} requests/s, {} errors/s, {in_flight} in flight, {connections} connections; p50 {}, p90 {}, p99 {}",
        rate(*per_second),
        rate(*errors_per_second),
        time(p50),
        time(p90),
        time(p99)
    )
}

/// The line about green threads.
pub(super) fn green_threads(totals: &Totals) -> String {
    let Totals {
        live,
        running,
        runnable,
        parked,
        ..
    } = totals;
    format!("{live} green threads: {running} running, {runnable} runnable, {parked} parked")
}

/// The line about workers.
pub(super) fn workers(totals: &Totals) -> String {
    let Totals {
        workers,
        spare_workers,
        switches_per_second,
        hogs,
        os_threads,
        ..
    } = totals;
    format!(
        "{workers} workers, {spare_workers} of them spare; {} switches/s, {hogs} hogs so far, {os_threads} OS threads",
        rate(*switches_per_second)
    )
}

/// The line about what green threads are at.
pub(super) fn reasons(frame: &Frame) -> String {
    let all = frame.reasons.iter();
    let words: Vec<String> = all
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    words.join(", ")
}

/// What a worker runs, in words.
pub(super) fn green_thread(id: Option<u64>, name: Option<&str>) -> String {
    match (id, name) {
        (None, _) => String::new(),
        (Some(id), None) => id.to_string(),
        (Some(id), Some(name)) => format!("{id} '{name}'"),
    }
}

/// All of a frame.
pub(super) fn write(frame: &Frame) -> String {
    let mut text = String::new();
    write_to(&mut text, frame).expect("memory can be written to");
    text
}

fn write_to(text: &mut String, frame: &Frame) -> std::fmt::Result {
    writeln!(
        text,
        "process {} ({}), greenpatch {}",
        frame.process, frame.program, frame.version
    )?;
    if let Some(figures) = &frame.requests {
        writeln!(text, "{}", requests(figures))?;
    }
    writeln!(text, "{}", green_threads(&frame.green_threads))?;
    writeln!(text, "{}", workers(&frame.green_threads))?;
    if !frame.reasons.is_empty() {
        writeln!(text, "{}", reasons(frame))?;
    }
    for trouble in &frame.troubles {
        writeln!(text, "not shown: {trouble}")?;
    }
    let mut tables = vec![processes(frame)];
    if !frame.routes.is_empty() {
        tables.push(routes(frame));
    }
    tables.extend([worker_table(frame), thread_table(frame)]);
    for table in tables {
        writeln!(text)?;
        table.write_to(text)?;
    }
    match frame.green_threads.omitted {
        0 => Ok(()),
        omitted => writeln!(text, "and {omitted} more; --limit shows them"),
    }
}

/// Rows of texts below their names.
pub(super) struct Table {
    /// The names of the columns, and whether they are numbers.
    pub(super) columns: Vec<(&'static str, bool)>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    /// As wide as is needed; the last column has no end.
    fn write_to(&self, text: &mut String) -> std::fmt::Result {
        let width = |index: usize| {
            let cells = self.rows.iter().map(|row| row[index].chars().count());
            cells.max().unwrap_or(0).max(self.columns[index].0.len())
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let names: Vec<String> = (self.columns.iter())
            .map(|(name, _)| name.to_uppercase())
            .collect();
        for row in std::iter::once(&names).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, width), (_, is_number)) in row.iter().zip(&widths).zip(&self.columns) {
                match is_number {
                    true => write!(line, "{cell:>width$}  ")?,
                    false => write!(line, "{cell:<width$}  ")?,
                }
            }
            writeln!(text, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// The processes.
pub(super) fn processes(frame: &Frame) -> Table {
    let rows = frame.processes.iter().map(|row| {
        let count = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |it| it.to_string());
        vec![
            row.process.to_string(),
            row.state.clone(),
            rate(row.requests_per_second),
            count(row.in_flight),
            count(row.connections),
            percent(row.processor_share),
            bytes(row.resident),
            row.live.to_string(),
        ]
    });
    Table {
        columns: vec![
            ("pid", true),
            ("state", false),
            ("req/s", true),
            ("in flight", true),
            ("conns", true),
            ("cpu", true),
            ("memory", true),
            ("threads", true),
        ],
        rows: rows.collect(),
    }
}

/// The routes.
pub(super) fn routes(frame: &Frame) -> Table {
    let rows = frame.routes.iter().map(|row| {
        let Latency { p50, p90, p99 } = row.latency;
        vec![
            rate(row.per_second),
            rate(row.errors_per_second),
            time(p50),
            time(p90),
            time(p99),
            row.route.clone(),
        ]
    });
    Table {
        columns: vec![
            ("req/s", true),
            ("errors/s", true),
            ("p50", true),
            ("p90", true),
            ("p99", true),
            ("route", false),
        ],
        rows: rows.collect(),
    }
}

/// The workers.
pub(super) fn worker_table(frame: &Frame) -> Table {
    let rows = frame.workers.iter().map(|row| {
        let name = green_thread(row.green_thread, row.name.as_deref());
        let os_thread = row.os_thread.map_or_else(String::new, |it| it.to_string());
        vec![
            row.process.to_string(),
            format!("{}-{}", row.runtime, row.number),
            os_thread,
            row.queued.to_string(),
            row.for_seconds
                .map_or_else(String::new, |it| time(Some(it))),
            format!("{} {name}", row.state).trim_end().to_owned(),
        ]
    });
    Table {
        columns: vec![
            ("pid", true),
            ("worker", false),
            ("os thread", true),
            ("queued", true),
            ("for", true),
            ("what it does", false),
        ],
        rows: rows.collect(),
    }
}

/// The green threads. Who was spawned by C code has no place, and where none has one, there is no column for it.
pub(super) fn thread_table(frame: &Frame) -> Table {
    let has_several = frame.processes.len() > 1;
    let has_places = frame.threads.iter().any(|row| row.spawned_at.is_some());
    let mut columns = vec![
        ("id", true),
        ("name", false),
        ("for", true),
        ("stack", true),
        ("state", false),
    ];
    if has_several {
        columns.insert(0, ("pid", true));
    }
    if has_places {
        columns.push(("spawned at", false));
    }
    let rows = frame.threads.iter().map(|row| {
        let mut cells = vec![
            row.id.to_string(),
            row.name.clone().unwrap_or_default(),
            match row.for_seconds {
                Some(seconds) => time(Some(seconds)),
                None => String::new(),
            },
            format!("{} KiB", row.stack_high_water.div_ceil(1024)),
            match row.is_hog {
                true => format!("{}, a hog", row.state),
                false => row.state.clone(),
            },
        ];
        if has_several {
            cells.insert(0, row.process.to_string());
        }
        if has_places {
            cells.push(row.spawned_at.clone().unwrap_or_default());
        }
        cells
    });
    Table {
        rows: rows.collect(),
        columns,
    }
}
