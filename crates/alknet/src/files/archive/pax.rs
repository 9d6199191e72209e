//! PAX records (POSIX.1-2017, pax, "pax Extended Header"): `LENGTH KEY=VALUE\n`, whose values may hold any byte.

use std::collections::BTreeMap;

use data_encoding::BASE64_NOPAD;

use crate::files::entry::Xattrs;

const XATTR: &[u8] = b"SCHILY.xattr.";
const ENCODED_XATTR: &[u8] = b"LIBARCHIVE.xattr.";
const SECOND: i64 = 1_000_000_000;

/// Records, the last of a key counting.
pub(super) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// Reads a block of records into those that are there.
pub(super) fn read(mut block: &[u8], records: &mut Records) -> Option<()> {
    while !block.is_empty() {
        let blank = block.iter().position(|byte| *byte == b' ').filter(|at| (1..=19).contains(at))?;
        let length: usize = std::str::from_utf8(&block[..blank]).ok()?.parse().ok()?;
        let record = block.get(blank + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
        let (key, value) = (record[..equals].to_vec(), record[equals + 1..].to_vec());
        // An empty value takes a key back.
        if value.is_empty() && !key.starts_with(XATTR) && !key.starts_with(ENCODED_XATTR) {
            records.remove(&key);
        } else {
            records.insert(key, value);
        }
        block = &block[length..];
    }
    Some(())
}

/// Adds a record to a block.
pub(super) fn write(block: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // The blank, `=` and the line feed; the length counts its own digits.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    block.extend_from_slice(length.to_string().as_bytes());
    for part in [b" ", key, b"=", value, b"\n"] {
        block.extend_from_slice(part);
    }
}

/// Nanoseconds since 1970 as the decimal seconds of a record.
pub(super) fn write_time(ns: i64) -> String {
    let (seconds, rest) = (ns.unsigned_abs() / SECOND.unsigned_abs(), ns.unsigned_abs() % SECOND.unsigned_abs());
    let sign = if ns < 0 { "-" } else { "" };
    if rest == 0 {
        return format!("{sign}{seconds}");
    }
    format!("{sign}{seconds}.{rest:09}").trim_end_matches('0').to_owned()
}

/// Reads decimal seconds; digits beyond nanoseconds say nothing.
pub(super) fn read_time(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if seconds.is_empty() || !all_digits(seconds) || !all_digits(fraction) {
        return None;
    }
    let nanoseconds: i128 = format!("{:0<9.9}", fraction).parse().ok()?;
    let ns = seconds.parse::<i64>().ok().map(i128::from)? * i128::from(SECOND) + nanoseconds;
    i64::try_from(if negative { -ns } else { ns }).ok()
}

/// Adds the attributes to a block: as GNU tar has them, or as libarchive where a name holds a `=`.
pub(super) fn write_xattrs(block: &mut Vec<u8>, xattrs: &Xattrs) {
    for (name, value) in xattrs {
        if name.contains(&b'=') {
            let key = [ENCODED_XATTR, &percent_encode(name)].concat();
            write(block, &key, BASE64_NOPAD.encode(value).as_bytes());
        } else {
            write(block, &[XATTR, name].concat(), value);
        }
    }
}

/// The attributes among the records, however they are written.
pub(super) fn read_xattrs(records: &Records) -> Xattrs {
    let mut xattrs = Xattrs::new();
    for (key, value) in records {
        if let Some(name) = key.strip_prefix(ENCODED_XATTR)
            && let Some(value) = base64(value)
        {
            xattrs.insert(percent_decode(name), value);
        }
    }
    let plain = records.iter().filter_map(|(key, value)| Some((key.strip_prefix(XATTR)?.to_vec(), value.clone())));
    xattrs.extend(plain);
    xattrs
}

fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<_> = text.iter().copied().filter(|byte| *byte != b'=').collect();
    BASE64_NOPAD.decode(&text).ok()
}

pub(super) fn percent_encode(name: &[u8]) -> Vec<u8> {
    let encode = |byte: &u8| match byte {
        b'!'..=b'~' if !matches!(byte, b'%' | b'=') => vec![*byte],
        _ => format!("%{byte:02X}").into_bytes(),
    };
    name.iter().flat_map(encode).collect()
}

pub(super) fn percent_decode(name: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name;
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                rest = &tail[2..];
            }
            None => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_exact_to_the_nanosecond_before_1970_too() {
        // ARCH-20
        for (ns, text) in [
            (0, "0"),
            (1_500_000_000, "1.5"),
            (-1, "-0.000000001"),
            (-1_500_000_000, "-1.5"),
            (1_700_000_000_123_456_789, "1700000000.123456789"),
            (i64::MIN, "-9223372036.854775808"),
            (i64::MAX, "9223372036.854775807"),
        ] {
            assert_eq!(write_time(ns), text);
            assert_eq!(read_time(text.as_bytes()), Some(ns), "{text}");
        }
        assert_eq!(read_time(b"1.1234567899"), Some(1_123_456_789));
        for bad in ["", "-", ".5", "1.x", "+1", " 1", "9223372037", "1e9", "--1", "99999999999999999999"] {
            assert_eq!(read_time(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_length_that_grows_by_its_own_digits_is_right() {
        for size in [1, 92, 93, 94, 95, 96, 986, 987, 988, 989, 990] {
            let mut block = Vec::new();
            write(&mut block, b"k", &vec![b'\n'; size]);
            let said: usize =
                std::str::from_utf8(block.split(|b| *b == b' ').next().unwrap()).unwrap().parse().unwrap();
            assert_eq!(said, block.len());
        }
    }

    #[test]
    fn bad_records_are_refused() {
        let bad: [&[u8]; 9] = [
            b"x",
            b"5 a=b",
            b"6 a=b",
            b"7 a=b\n",
            b"0 a=b\n",
            b" a=b\n",
            b"5 ab\n",
            b"99999999999999999999 a=b\n",
            b"5 =b\n",
        ];
        for block in bad {
            assert_eq!(read(block, &mut Records::new()), None, "{}", String::from_utf8_lossy(block));
        }
    }

    proptest! {
        #[test]
        fn records_and_attributes_come_back(xattrs: BTreeMap<Vec<u8>, Vec<u8>>, path in proptest::collection::vec(any::<u8>(), 1..300)) {
            // ARCH-21
            let mut block = Vec::new();
            write(&mut block, b"path", &path);
            let xattrs: Xattrs = xattrs.into_iter().filter(|(name, _)| !name.is_empty()).collect();
            write_xattrs(&mut block, &xattrs);
            let mut records = Records::new();
            prop_assert_eq!(read(&block, &mut records), Some(()));
            prop_assert_eq!(&records[b"path".as_slice()], &path);
            prop_assert_eq!(read_xattrs(&records), xattrs);
        }

        #[test]
        fn any_bytes_are_read_or_refused(block: Vec<u8>) {
            let _ = read(&block, &mut Records::new());
        }
    }
}
