use super::*;

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    out.extend(bytes);
    out
}

fn section(kind: u8, data: &[u8]) -> Vec<u8> {
    [vec![kind], string(data)].concat()
}

fn list(sections: &[Vec<u8>]) -> Vec<u8> {
    let mut out = [MAGIC.to_be_bytes().as_slice(), &1u32.to_be_bytes(), &[0; 24]].concat();
    out.extend([string(b""), string(b"a comment")].concat());
    out.extend(sections.concat());
    out
}

fn of_authority(blob: &[u8], subsections: &[Vec<u8>]) -> Vec<u8> {
    section(CERTIFICATES, &[string(blob), string(b""), subsections.concat()].concat())
}

fn serials(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn bitmap(offset: u64, number: &[u8]) -> Vec<u8> {
    section(SERIAL_BITMAP, &[offset.to_be_bytes().to_vec(), string(number)].concat())
}

fn key(blob: &[u8]) -> AskedKey {
    AskedKey { blob: blob.to_vec(), sha1: [blob[0]; 20], sha256: [blob[0]; 32] }
}

/// KEY-31.
#[test]
fn certificates_are_found_by_serial_and_id() {
    let krl = list(&[of_authority(
        b"ca",
        &[
            section(SERIAL_LIST, &serials(&[5, 0, u64::MAX, 7, 6])),
            section(SERIAL_RANGE, &serials(&[100, 200])),
            section(SERIAL_RANGE, &serials(&[150, 300])),
            bitmap(1000, &[0x00, 0x80, 0x01]),
            section(KEY_ID, &[string(b"mallory"), string(b"eve")].concat()),
        ],
    )]);
    let krl = RevocationList::parse(&krl).unwrap();
    let has = |serial| krl.has_certificate(&key(b"ca"), serial, "alice");
    for revoked in [5, 6, 7, 100, 201, 300, 1000, 1015, u64::MAX] {
        assert!(has(revoked), "{revoked}");
    }
    for good in [0, 1, 4, 8, 99, 301, 999, 1001, 1014, 1016, u64::MAX - 1] {
        assert!(!has(good), "{good}");
    }
    assert!(krl.has_certificate(&key(b"ca"), 0, "eve") && !krl.has_certificate(&key(b"ca"), 0, "ev"));
    assert!(!krl.has_certificate(&key(b"other"), 5, "eve"));
}

/// KEY-31.
#[test]
fn no_authority_stands_for_all() {
    let krl = list(&[of_authority(b"", &[section(SERIAL_LIST, &serials(&[5]))])]);
    assert!(RevocationList::parse(&krl).unwrap().has_certificate(&key(b"any"), 5, ""));
}

/// KEY-31.
#[test]
fn keys_are_found_by_themselves_and_by_their_digests() {
    let krl = list(&[
        section(EXPLICIT_KEY, &[string(b"a"), string(b"b")].concat()),
        section(FINGERPRINT_SHA1, &string(&[b'c'; 20])),
        section(FINGERPRINT_SHA256, &string(&[b'd'; 32])),
        section(EXTENSION, &[string(b"unknown@example.com"), vec![0], string(b"x")].concat()),
        [section(SIGNATURE, b"key"), string(b"signature")].concat(),
    ]);
    let krl = RevocationList::parse(&krl).unwrap();
    for revoked in [b"a", b"b", b"c", b"d"] {
        assert!(krl.has_key(&key(revoked)));
    }
    assert!(!krl.has_key(&key(b"e")) && !krl.has_key(&key(b"ab")));
}

/// KEY-32: each is refused for what it is named after.
#[test]
fn bad_lists_are_refused_for_their_defect() {
    use BadRevocationList::{AfterSignature, Extension, Fingerprint, Magic, Section, Serials, Truncated, Version};
    let whole = list(&[section(EXPLICIT_KEY, &string(b"a"))]);
    let in_authority = |subsection: Vec<u8>| list(&[of_authority(b"ca", &[subsection])]);
    let mut version = whole.clone();
    version[11] = 2;
    for (name, bytes, why) in [
        ("empty", vec![], Magic),
        ("text", b"ssh-ed25519 AAAA".to_vec(), Magic),
        ("version", version, Version(2)),
        ("only_magic", whole[..8].to_vec(), Truncated),
        ("cut", whole[..whole.len() - 1].to_vec(), Truncated),
        ("lying_section", list(&[[vec![EXPLICIT_KEY], vec![0xff; 4]].concat()]), Truncated),
        ("lying_key", list(&[section(EXPLICIT_KEY, &[0, 0, 0, 9, 1])]), Truncated),
        ("unknown_section", list(&[section(9, b"")]), Section(9)),
        ("unknown_subsection", in_authority(section(0x2a, b"")), Section(0x2a)),
        ("short_sha1", list(&[section(FINGERPRINT_SHA1, &string(&[1; 19]))]), Fingerprint),
        ("long_sha256", list(&[section(FINGERPRINT_SHA256, &string(&[1; 33]))]), Fingerprint),
        ("half_serial", in_authority(section(SERIAL_LIST, &[0; 12])), Truncated),
        ("range_upside_down", in_authority(section(SERIAL_RANGE, &serials(&[2, 1]))), Serials),
        ("range_of_three", in_authority(section(SERIAL_RANGE, &serials(&[1, 2, 3]))), Truncated),
        ("negative_bitmap", in_authority(bitmap(0, &[0x80])), Serials),
        ("overflowing_bitmap", in_authority(bitmap(u64::MAX - 1, &[1])), Serials),
        ("critical_extension", list(&[section(EXTENSION, &[string(b"x"), vec![1], string(b"")].concat())]), Extension),
        (
            "after_signature",
            list(&[section(SIGNATURE, b"key"), string(b"sig"), section(EXPLICIT_KEY, b"")]),
            AfterSignature,
        ),
        ("signature_without_its_bytes", list(&[section(SIGNATURE, b"key")]), Truncated),
    ] {
        assert_eq!(RevocationList::parse(&bytes).unwrap_err(), why, "{name}");
    }
}
