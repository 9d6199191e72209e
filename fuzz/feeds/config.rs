//! The configuration's file layer. The binary has no library, so its module is compiled in here.

use std::io::Write;

#[path = "../../crates/alknet/src/config/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the target needs the module's entrance only")]
mod layers;

pub fn config(data: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().expect("a file for a moment");
    file.write_all(data).expect("a writable file");
    let sources = layers::Sources { user: Some(file.path().to_owned()), ..layers::Sources::default() };
    match layers::load(&sources) {
        Ok(loaded) => assert!(!loaded.entries().is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
