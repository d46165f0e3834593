//! Applications of others, unmodified, on Greenpatch's server, in each worker class.
//!
//! What is asked of all classes stands in `everywhere`; what makes the green one different, in `blocking`.

#[path = "applications/blocking.rs"]
mod blocking;
#[path = "applications/everywhere.rs"]
mod everywhere;
#[path = "applications/grpc.rs"]
mod grpc;
#[path = "applications/plain.rs"]
mod plain;
#[path = "applications/serving.rs"]
mod serving;
