//! What an application is made of: requests, responses, their content, and the ways to write a handler.
//!
//! An application is a tower service from [`http::Request`] to [`http::Response`]. A plain function becomes one that blocks
//! while it is called. Nothing here knows where a handler runs; that is the worker class's affair.
