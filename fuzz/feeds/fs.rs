//! Addresses of files: what is accepted is written as something that reads back the same; what is refused is said in few words.

use alknet_fs::{Address, FsPath};

pub fn fs_address(data: &[u8]) {
    match Address::parse(data, 1_800_000_000_000_000_000) {
        Ok(address) => {
            let again = Address::parse(&address.to_bytes(), 0).expect("a written address reads back");
            assert_eq!(again, address);
            assert_eq!(FsPath::parse(&address.path.to_bytes()), Ok(address.path));
        }
        Err(error) => {
            let said = error.to_string();
            assert!(said.len() < 1000 && !said.contains(char::is_control), "{said}");
        }
    }
}
