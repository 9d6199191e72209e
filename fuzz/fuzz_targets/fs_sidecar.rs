#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alknet_fuzz::archives::fs_sidecar(data));
