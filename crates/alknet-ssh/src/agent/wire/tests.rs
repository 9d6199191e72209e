use super::*;

fn request(number: u8, parts: &[&[u8]], tail: &[u8]) -> Vec<u8> {
    let mut message = vec![number];
    parts.iter().for_each(|part| put_string(&mut message, part));
    message.extend_from_slice(tail);
    message
}

#[test]
fn requests_are_read() {
    let table = [
        (vec![11], Request::List),
        (request(13, &[b"key", b"data"], &[0, 0, 0, 4]), Request::Sign { key: b"key", data: b"data" }),
        (request(17, &[b"ssh-ed25519", b"whatever"], b"and more"), Request::Add),
        (vec![25], Request::Add),
        (request(20, &[b"reader"], b""), Request::Add),
        (request(18, &[b"key"], b""), Request::Remove { key: b"key" }),
        (vec![19], Request::RemoveAll),
        (request(22, &[b"pass"], b""), Request::Lock { passphrase: b"pass" }),
        (request(23, &[b"pass"], b""), Request::Unlock { passphrase: b"pass" }),
        (request(27, &[b"query"], b""), Request::UnknownExtension),
        (
            request(27, &[b"session-bind@openssh.com", b"host", b"session", b"signature"], &[1]),
            Request::Bind(SessionBind {
                host_key: b"host",
                session: b"session",
                signature: b"signature",
                forwarded: true,
            }),
        ),
        (vec![1], Request::Unknown),
        (vec![0xff, 1, 2], Request::Unknown),
    ];
    for (message, wanted) in table {
        assert_eq!(Request::parse(&message).as_ref(), Ok(&wanted));
    }
}

/// AGENT-02.
#[test]
fn requests_with_other_fields_than_their_type_has_are_refused() {
    let table = [
        ("empty", vec![]),
        ("list_with_a_tail", vec![11, 0]),
        ("sign_without_flags", request(13, &[b"key", b"data"], b"")),
        ("sign_with_a_tail", request(13, &[b"key", b"data"], &[0; 5])),
        ("sign_with_a_length_beyond_the_end", request(13, &[b"key"], &[0xff, 0xff, 0xff, 0xff, 1])),
        ("remove_without_a_key", vec![18]),
        ("remove_all_with_a_tail", vec![19, 1]),
        ("lock_cut_short", vec![22, 0, 0, 0, 9, b'x']),
        ("extension_without_a_name", vec![27]),
        ("bind_without_a_flag", request(27, &[b"session-bind@openssh.com", b"a", b"b", b"c"], b"")),
        ("bind_with_a_tail", request(27, &[b"session-bind@openssh.com", b"a", b"b", b"c"], &[0, 0])),
    ];
    for (defect, message) in table {
        assert_eq!(Request::parse(&message), Err(Malformed), "{defect}");
    }
}

/// AGENT-01.
#[test]
fn a_message_is_neither_empty_nor_longer_than_the_bound() {
    assert_eq!(frame_length([0, 0, 0, 1]), Ok(1));
    assert_eq!(frame_length([0, 4, 0, 0]), Ok(MAX_AGENT_FRAME_BYTES));
    assert_eq!(frame_length([0, 0, 0, 0]), Err(BadLength(0)));
    assert_eq!(frame_length([0, 4, 0, 1]), Err(BadLength(0x4_0001)));
    assert_eq!(frame_length([0xff; 4]), Err(BadLength(u32::MAX)));
}

#[test]
fn replies_are_written() {
    assert_eq!(Reply::Failure.to_bytes(), [0, 0, 0, 1, 5]);
    assert_eq!(Reply::ExtensionFailure.to_bytes(), [0, 0, 0, 1, 28]);
    assert_eq!(Reply::Success.to_bytes(), [0, 0, 0, 1, 6]);
    assert_eq!(
        Reply::Keys(vec![(b"ab".to_vec(), "c".to_owned())]).to_bytes(),
        b"\0\0\0\x10\x0c\0\0\0\x01\0\0\0\x02ab\0\0\0\x01c"
    );
    let signature = Reply::Signature([7; 64]).to_bytes();
    assert_eq!(signature[..24], *b"\0\0\0\x58\x0e\0\0\0\x53\0\0\0\x0bssh-ed25519");
    assert_eq!(signature[24..28], [0, 0, 0, 64]);
    assert_eq!(signature[28..], [7; 64]);
}
