#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alknet_fuzz::ssh_client_session::ssh_client_session(data));
