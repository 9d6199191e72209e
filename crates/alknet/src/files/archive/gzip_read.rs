//! Reads gzip to its end: member after member, as `gzip -d` does, whose checksums count.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// With what a member begins.
pub(super) const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Unfolds all members of a gzip file. Zeros may follow them, as tapes and some servers leave them; anything else is damage.
pub(super) struct Gunzip<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Gunzip<R> {
    pub(super) fn new(input: R) -> Self {
        Self(Some(GzDecoder::new(input)))
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        while let Some(member) = &mut self.0 {
            match member.read(buf)? {
                0 => {}
                read => return Ok(read),
            }
            let Some(member) = self.0.take() else { break };
            let mut input = member.into_inner();
            if is_next(&mut input)? {
                self.0 = Some(GzDecoder::new(input));
            }
        }
        Ok(0)
    }
}

/// Whether another member follows.
fn is_next(input: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let rest = input.fill_buf()?;
        let (length, zeros) = (rest.len(), rest.iter().take_while(|byte| **byte == 0).count());
        match rest.get(zeros).copied() {
            None if length == 0 => return Ok(false),
            None => input.consume(zeros),
            Some(byte) if zeros == 0 && byte == MAGIC[0] => return Ok(true),
            Some(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, "something else follows the gzip data")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn folded(bytes: &[u8]) -> Vec<u8> {
        let mut folding = GzEncoder::new(Vec::new(), Compression::fast());
        folding.write_all(bytes).unwrap();
        folding.finish().unwrap()
    }

    fn unfolded(bytes: &[u8], at_once: usize) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        Gunzip::new(BufReader::with_capacity(at_once, bytes)).read_to_end(&mut all).map(|_| all)
    }

    #[test]
    fn members_follow_each_other_and_zeros_say_nothing() {
        // ARCH-15
        for at_once in [1, 7, 4096] {
            let two = [folded(b"one "), folded(b"two")].concat();
            assert_eq!(unfolded(&two, at_once).unwrap(), b"one two");
            assert_eq!(unfolded(&[two.clone(), vec![0; 700]].concat(), at_once).unwrap(), b"one two");
            for garbage in [b"x".to_vec(), [vec![0; 9], b"x".to_vec()].concat(), two[..1].to_vec(), two[..12].to_vec()]
            {
                assert!(unfolded(&[two.clone(), garbage].concat(), at_once).is_err());
            }
            for flipped in two.len() - 8..two.len() {
                let mut damaged = two.clone();
                damaged[flipped] ^= 1;
                assert!(unfolded(&damaged, at_once).is_err(), "checksum and length count");
            }
            for cut in 1..two.len() {
                let whole_first = cut == folded(b"one ").len();
                assert_eq!(unfolded(&two[..cut], at_once).is_ok(), whole_first, "{cut}");
            }
        }
    }
}
