//! A remote's byte stream.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/wire_codec.rs"]
mod wire_codec;

fuzz_target!(|stream: &[u8]| wire_codec::check(stream));
