//! Base58 with Bitcoin's alphabet, for inputs of a fixed, small length.

use zeroize::Zeroizing;

const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// Decodes exactly `N` bytes; `None` for a strange character or another length.
pub(super) fn decode<const N: usize>(text: &str) -> Option<Zeroizing<[u8; N]>> {
    let mut number = Zeroizing::new([0u8; N]);
    for character in text.bytes() {
        let mut carry = ALPHABET.iter().position(|known| *known == character)?;
        for byte in number.iter_mut().rev() {
            carry += usize::from(*byte) * 58;
            *byte = (carry & 0xff) as u8;
            carry >>= 8;
        }
        if carry != 0 {
            return None;
        }
    }
    let ones = text.bytes().take_while(|character| *character == ALPHABET[0]).count();
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    (ones == zeros).then_some(number)
}

/// Encodes bytes.
pub(super) fn encode(bytes: &[u8]) -> Zeroizing<String> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let mut digits = Zeroizing::new(Vec::with_capacity(bytes.len() * 2));
    for byte in bytes {
        let mut carry = usize::from(*byte);
        for digit in digits.iter_mut() {
            carry += usize::from(*digit) << 8;
            *digit = (carry % 58) as u8;
            carry /= 58;
        }
        while carry > 0 {
            digits.push((carry % 58) as u8);
            carry /= 58;
        }
    }
    let mut text = Zeroizing::new(String::with_capacity(zeros + digits.len()));
    (0..zeros).for_each(|_| text.push(char::from(ALPHABET[0])));
    digits.iter().rev().for_each(|digit| text.push(char::from(ALPHABET[usize::from(*digit)])));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_go_both_ways() {
        for (bytes, text) in
            [(&b"Hello World!"[..], "2NEpo7TZRRrLZSi2U"), (&[0, 0, 1][..], "112"), (&[0, 0, 0][..], "111")]
        {
            assert_eq!(encode(bytes).as_str(), text);
        }
        assert_eq!(decode::<12>("2NEpo7TZRRrLZSi2U").unwrap()[..], *b"Hello World!");
        assert_eq!(decode::<3>("112").unwrap()[..], [0, 0, 1]);
    }

    #[test]
    fn other_lengths_and_characters_are_refused() {
        for text in ["2NEpo7TZRRrLZSi2U", "11", "1111", "11O", "11l", "11é", ""] {
            assert!(decode::<3>(text).is_none(), "{text}");
        }
    }
}
