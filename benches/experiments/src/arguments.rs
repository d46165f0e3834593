//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// The experiments of the seed documents, on this machine: ours and every peer.
#[derive(Clone, Debug, Parser)]
#[command(name = "experiments")]
pub(crate) struct Arguments {
    /// Experiments, each by its name or a part of it; all, if none is named
    pub(crate) names: Vec<String>,
    /// Several rounds of each, as long as the seeds have it; it takes hours
    #[arg(long)]
    pub(crate) full: bool,
    /// Only servers with this in their name
    #[arg(long, value_name = "PART")]
    pub(crate) server: Vec<String>,
    /// Rounds of each measurement
    #[arg(long, value_name = "N")]
    pub(crate) rounds: Option<usize>,
    /// Percent of the processors that others may use while something is measured
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0)]
    pub(crate) limit: f64,
    /// Attempts to measure undisturbed, before a disturbed round counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) attempts: usize,
    /// Where reports, logs and what is set up go
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) work: Option<PathBuf>,
    /// Where our programs are, if they are not to be built
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) built: Option<PathBuf>,
    /// Say what there is, and do no more
    #[arg(long)]
    pub(crate) list: bool,
    /// Make RESULTS.md and its plots of the reports that are there, and do no more
    #[arg(long)]
    pub(crate) docs: bool,
    /// What `cargo bench` says
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
    /// What `cargo test` may say
    #[arg(long, hide = true)]
    pub(crate) test: bool,
}

impl Arguments {
    /// Whether this is a test, which is to see that it works, and no more.
    pub(crate) fn is_test(&self) -> bool {
        !self.bench || self.test
    }

    /// Whether an experiment is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|part| name.contains(part.as_str()))
    }

    /// Whether a server is wanted.
    pub(crate) fn wants_server(&self, name: &str) -> bool {
        self.server.is_empty() || self.server.iter().any(|part| name.contains(part.as_str()))
    }
}
