//! Runtimes and spawning (stub).
use crate::Patch;
use std::io;
pub struct Runtime(());
#[derive(Debug)]
pub struct BuildError(());
impl std::fmt::Display for BuildError { fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { Ok(()) } }
impl std::error::Error for BuildError {}
#[derive(Default)]
pub struct RuntimeBuilder(());
impl Runtime {
    pub fn builder() -> RuntimeBuilder { RuntimeBuilder(()) }
    /// Runs f on a new green thread, blocks the calling OS thread until it ends; a panic of f goes on in the caller.
    pub fn run<F: FnOnce() -> T + Send + 'static, T: Send + 'static>(&self, f: F) -> T { unimplemented!() }
    pub fn spawn<F: FnOnce() -> T + Send + 'static, T: Send + 'static>(&self, f: F) -> JoinHandle<T> { unimplemented!() }
}
impl RuntimeBuilder {
    pub fn workers(self, n: usize) -> Self { self }
    pub fn stack_size(self, bytes: usize) -> Self { self }
    pub fn patch(self, patch: Patch) -> Self { self }
    pub fn name(self, name: impl Into<String>) -> Self { self }
    pub fn build(self) -> Result<Runtime, BuildError> { unimplemented!() }
}
pub struct JoinHandle<T>(std::marker::PhantomData<T>);
impl<T> JoinHandle<T> {
    pub fn join(self) -> std::thread::Result<T> { unimplemented!() }
    pub fn is_finished(&self) -> bool { unimplemented!() }
}
#[derive(Default)]
pub struct Builder(());
impl Builder {
    pub fn new() -> Builder { Builder(()) }
    pub fn name(self, name: String) -> Self { self }
    pub fn stack_size(self, bytes: usize) -> Self { self }
    pub fn spawn<F: FnOnce() -> T + Send + 'static, T: Send + 'static>(self, f: F) -> io::Result<JoinHandle<T>> { unimplemented!() }
}
/// Spawns a green thread on the runtime of the calling green thread; panics off a green thread
pub fn spawn<F: FnOnce() -> T + Send + 'static, T: Send + 'static>(f: F) -> JoinHandle<T> { unimplemented!() }
/// Builds a runtime from the environment and runs f in it.
pub fn run<F: FnOnce() -> T + Send + 'static, T: Send + 'static>(f: F) -> T { unimplemented!() }
pub fn yield_now() {}
