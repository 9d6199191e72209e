#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alknet_fuzz::archives::archive_tar(data));
