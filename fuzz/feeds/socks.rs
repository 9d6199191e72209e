//! What the proxy's clients send, and what an association's two ends send each other.

use alknet_ssh::fuzzing;

/// More of the same, to see that what was decided stays so.
const MORE: &[u8] = b"\0\x05 \r\n\r\n";

pub fn socks_request(data: &[u8]) {
    let longer = [data, MORE].concat();
    match fuzzing::socks_request(data) {
        Ok(Some((target, rest))) => {
            assert!(data.ends_with(rest) && rest.len() < data.len());
            let (same, _) = fuzzing::socks_request(&longer).ok().flatten().expect("because it was whole before");
            assert_eq!(same, target);
        }
        Ok(None) => assert!(data.len() < 2 + 255 + 3 + 1 + 1 + 255 + 2, "the longest request is whole by then"),
        Err(answer) => {
            assert!(answer.len() <= 10);
            assert_eq!(fuzzing::socks_request(&longer), Err(answer));
        }
    }
}

pub fn http_connect(data: &[u8]) {
    let longer = [data, MORE].concat();
    match fuzzing::http_connect(data) {
        Ok(Some((target, rest))) => {
            assert!(data.ends_with(rest) && data.starts_with(b"CONNECT "));
            assert!(target.bytes().all(|byte| byte.is_ascii_graphic()), "{target}");
            let (same, _) = fuzzing::http_connect(&longer).ok().flatten().expect("because it was whole before");
            assert_eq!(same, target);
        }
        Ok(None) => assert!(data.len() < 8 * 1024, "a head that does not end is too long by then"),
        Err(answer) => {
            assert!(answer.starts_with(b"HTTP/1.1 4") || answer.starts_with(b"HTTP/1.1 5"));
            assert_eq!(fuzzing::http_connect(&longer), Err(answer));
        }
    }
}

pub fn udp_frame(data: &[u8]) {
    if let Ok(written) = fuzzing::udp_frames(data) {
        assert!(written.len() <= data.len());
        assert_eq!(fuzzing::udp_frames(&written).as_ref(), Ok(&written), "there is one encoding");
    }
    if let Some(written) = fuzzing::udp_datagram(data) {
        assert_eq!(written, data, "there is one encoding");
    }
    if let Some(written) = fuzzing::udp_header(data) {
        assert_eq!(written, data, "there is one encoding");
    }
}
