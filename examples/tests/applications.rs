//! The applications, which have their tests with them, and their programs in each worker class.
//!
//! Each application's file is a module here, so that all of them are one test program.

#![expect(
    dead_code,
    reason = "the applications' main functions are called by their own programs"
)]

#[path = "../applications/cache.rs"]
mod cache;
#[path = "../applications/chat.rs"]
mod chat;
#[path = "../applications/events.rs"]
mod events;
#[path = "../applications/image_uploader.rs"]
mod image_uploader;
#[path = "../applications/image_uploader_axum.rs"]
mod image_uploader_axum;
#[path = "../applications/images.rs"]
mod images;
#[path = "../applications/long_polling.rs"]
mod long_polling;
#[path = "../applications/packages.rs"]
mod packages;
#[path = "../applications/pyaday.rs"]
mod pyaday;
#[path = "../applications/pyaday_axum.rs"]
mod pyaday_axum;
#[path = "../applications/sleep.rs"]
mod sleep;
#[path = "../applications/sleep_axum.rs"]
mod sleep_axum;

#[path = "applications/browser.rs"]
mod browser;
#[path = "applications/classes.rs"]
mod classes;
#[path = "applications/running.rs"]
mod running;
