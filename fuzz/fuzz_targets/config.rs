#![no_main]

#[path = "../feeds/config.rs"]
mod feed;

libfuzzer_sys::fuzz_target!(|data: &[u8]| feed::config(data));
