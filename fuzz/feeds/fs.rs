//! The file system's texts and bytes: what is accepted is written as something that reads back the same; what is refused is said in
//! few words.

use alknet_fs::{Address, EntryName, FsPath, Policy, Xattrs, content};

pub fn fs_address(data: &[u8]) {
    match Address::parse(data, 1_800_000_000_000_000_000) {
        Ok(address) => {
            let again = Address::parse(&address.to_bytes(), 0).expect("a written address reads back");
            assert_eq!(again, address);
            assert_eq!(FsPath::parse(&address.path.to_bytes()), Ok(address.path));
        }
        Err(error) => is_short(&error),
    }
}

/// The bytes before the first NUL are a path; those after it are the name of an entry below.
pub fn fs_path(data: &[u8]) {
    let (path, name) = data.split_at(data.iter().position(|byte| *byte == 0).unwrap_or(data.len()));
    let path = match FsPath::parse(path) {
        Ok(path) => path,
        Err(error) => return is_short(&error),
    };
    let written = path.to_bytes();
    assert_eq!(FsPath::parse(&written), Ok(path.clone()));
    assert!(!written.contains(&0) && !path.to_string().contains(char::is_control));
    if let Some((folder, last)) = path.split_last() {
        assert_eq!(folder.join(last.clone()), Ok(path.clone()));
    }
    match EntryName::parse(name.get(1..).unwrap_or_default()) {
        Ok(name) => match path.join(name.clone()) {
            Ok(below) => assert_eq!(below.split_last(), Some((path, &name))),
            Err(error) => is_short(&error),
        },
        Err(error) => is_short(&error),
    }
}

pub fn fs_xattrs(data: &[u8]) {
    match Xattrs::decode(data) {
        Ok(xattrs) => {
            assert_eq!(xattrs.encode(), data, "there is one form");
            assert_eq!(Xattrs::new(xattrs.iter()), Ok(xattrs.clone()));
            assert!(xattrs.iter().all(|(key, value)| xattrs.get(key) == Some(value)));
        }
        Err(error) => is_short(&error),
    }
}

pub fn fs_policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Policy::parse(text) {
        Ok(policy) => {
            let again = Policy::parse(&policy.to_json()).expect("a written policy reads back");
            assert_eq!(again, policy);
        }
        Err(error) => is_short(&error),
    }
}

pub fn fs_outboard(data: &[u8]) {
    content::fuzzing::outboard(data);
}

fn is_short(error: &dyn std::error::Error) {
    let said = error.to_string();
    assert!(said.len() < 1000 && !said.contains(char::is_control), "{said}");
}
