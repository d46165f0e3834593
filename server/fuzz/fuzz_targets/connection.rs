#![no_main]

use greenpatch_server::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzzing::connection(bytes));
