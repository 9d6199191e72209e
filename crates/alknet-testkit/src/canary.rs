//! A secret that stands nowhere else, looked for where no secret may be.

use std::{fs, path::Path};

use data_encoding::{BASE64, BASE64URL, HEXLOWER, HEXUPPER};

/// A random text. Where it, or what is easily made of it, turns up, a secret leaked.
pub struct Canary {
    text: String,
    shapes: Vec<Vec<u8>>,
}

impl Canary {
    /// A new one; its text begins with `canary`.
    pub fn new() -> Self {
        let mut random = [0; 12];
        getrandom::fill(&mut random).expect("because every system that runs tests gives random bytes");
        let text = format!("canary{}", HEXLOWER.encode(&random));
        Self { shapes: shapes(text.as_bytes()), text }
    }

    /// The secret.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Panics when it is among the bytes: as it is, backwards, in hexadecimal, base64 at any offset, or percent-encoded.
    pub fn must_not_be_in(&self, what: &str, bytes: &[u8]) {
        for shape in &self.shapes {
            let found = bytes.windows(shape.len()).any(|window| window == shape);
            assert!(!found, "{what} holds {}", String::from_utf8_lossy(shape));
        }
    }

    /// Looks through every file below a folder; answers how many there were.
    pub fn must_not_be_below(&self, folder: &Path) -> usize {
        let mut files = 0;
        for entry in fs::read_dir(folder).expect("a folder to look through").flatten() {
            let path = entry.path();
            if path.is_dir() {
                files += self.must_not_be_below(&path);
            } else if let Ok(bytes) = fs::read(&path) {
                self.must_not_be_in(&path.display().to_string(), &bytes);
                files += 1;
            }
        }
        files
    }
}

impl Default for Canary {
    fn default() -> Self {
        Self::new()
    }
}

fn shapes(plain: &[u8]) -> Vec<Vec<u8>> {
    let backwards = plain.iter().rev().copied().collect();
    let percent = plain.iter().map(|byte| format!("%{byte:02X}")).collect::<String>().into_bytes();
    let mut shapes = vec![plain.to_vec(), backwards, percent];
    shapes.extend([HEXLOWER.encode(plain), HEXUPPER.encode(plain)].map(String::into_bytes));
    // In base64 it looks different at each of three offsets, and its ends depend on what stands beside it.
    for offset in 0..3 {
        let shifted = [&b"xyz"[..offset], plain].concat();
        for encoded in [BASE64.encode(&shifted), BASE64URL.encode(&shifted)] {
            shapes.push(encoded.as_bytes()[4..encoded.len() - 4].to_vec());
        }
    }
    shapes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_in_every_shape() {
        let canary = Canary::new();
        let text = canary.text();
        canary.must_not_be_in("nothing", b"canary");
        let encoded = [
            format!("a {text} b"),
            HEXUPPER.encode(text.as_bytes()),
            BASE64.encode(format!(r#"{{"key":"{text}"}}"#).as_bytes()),
            BASE64URL.encode(format!("me:{text}").as_bytes()),
            BASE64.encode(format!("u:{text}x").as_bytes()),
        ];
        for leak in encoded {
            let looked = std::panic::catch_unwind(|| canary.must_not_be_in("a leak", leak.as_bytes()));
            assert!(looked.is_err(), "{leak}");
        }
    }
}
