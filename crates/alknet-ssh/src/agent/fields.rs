//! Reads the data types of RFC 4251, 5, from a message that is held whole.

/// The message is shorter or longer than its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message does not have the fields of its type")]
pub(super) struct Malformed;

/// What is left of a message.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) const fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn boolean(&mut self) -> Result<bool, Malformed> {
        self.byte().map(|byte| byte != 0)
    }

    pub(super) fn number(&mut self) -> Result<u32, Malformed> {
        let (first, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*first))
    }

    pub(super) fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        let (string, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(string)
    }

    /// Nothing stands behind the last field.
    pub(super) const fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// Appends a string: its length and its bytes.
pub(super) fn put_string(message: &mut Vec<u8>, string: &[u8]) {
    let length = u32::try_from(string.len()).expect("because the agent writes keys, comments and signatures only");
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(string);
}
