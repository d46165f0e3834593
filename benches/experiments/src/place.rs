//! Where things are.

use std::env;
use std::path::{Path, PathBuf};

/// The directories that matter here.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// This package.
    pub(crate) package: PathBuf,
    /// The repository.
    pub(crate) repository: PathBuf,
    /// Cargo's.
    pub(crate) target: PathBuf,
    /// What the experiments make.
    pub(crate) work: PathBuf,
    /// Our programs, if they are not to be built.
    pub(crate) built: Option<PathBuf>,
}

impl Place {
    /// The directories of the repository that this was built in, or of `work` for what is made; `built` has our programs.
    pub(crate) fn new(work: Option<&Path>, built: Option<&Path>) -> Place {
        let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let repository = package.join("../..");
        let repository = repository.canonicalize().unwrap_or(repository);
        let target = env::var_os("CARGO_TARGET_DIR");
        let target = target.map_or(repository.join("target"), |path| repository.join(path));
        let work = work.map_or(target.join("experiments"), Path::to_owned);
        Place {
            package,
            repository,
            target,
            work,
            built: built.map(Path::to_owned),
        }
    }
}
