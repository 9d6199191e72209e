#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alknet_fuzz::ssh_kex::ssh_kex(data));
