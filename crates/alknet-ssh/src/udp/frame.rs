//! `alknet/udp` in bytes (docs/spec/socks.md, 4): frames on an association's stream, and datagrams beside it.

use bytes::{Buf, Bytes, BytesMut};

use crate::{
    limits::{MAX_UDP_FRAME_BYTES, MAX_UDP_PAYLOAD_BYTES},
    socks::{InvalidTarget, ReachError, Target},
};

const OPEN: u8 = 0;
const OPENED: u8 = 1;
const REFUSED: u8 = 2;
const DATAGRAM: u8 = 3;
const NOT_SENT: u8 = 4;

/// One frame of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// The client's first: make an association of this stream.
    Open,
    /// The node's first: it is made.
    Opened,
    /// The node's only one: it is not made.
    Refused(ReachError),
    /// To the node: a datagram for the target. From the node: a datagram that the target sent.
    Datagram(Target, Bytes),
    /// From the node: datagrams for the target are not sent.
    NotSent(ReachError, Target),
}

/// Bytes that are no frame or datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A length of nothing, or beyond the bound.
    #[error("a frame of {0} bytes")]
    Length(usize),
    /// A kind that there is not.
    #[error("a frame of the kind {0}")]
    Kind(u8),
    /// It ends too early.
    #[error("a frame that ends within its fields")]
    Short,
    /// It goes on behind its fields.
    #[error("a frame that goes on behind its fields")]
    Long,
    /// More than a datagram holds.
    #[error("a datagram of {0} bytes")]
    Payload(usize),
    /// Its address is none.
    #[error(transparent)]
    Target(#[from] InvalidTarget),
}

/// Takes the next frame off `buffer`; `None` where more bytes are needed.
pub fn decode_frame(buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    let Some(prefix) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*prefix) as usize;
    if length == 0 || length > MAX_UDP_FRAME_BYTES {
        return Err(FrameError::Length(length));
    }
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    buffer.advance(4);
    let mut body = buffer.split_to(length).freeze();
    let frame = match body.get_u8() {
        OPEN => Frame::Open,
        OPENED => Frame::Opened,
        REFUSED => Frame::Refused(reason(&mut body)?),
        DATAGRAM => {
            let (target, payload) = addressed(body)?;
            return Ok(Some(Frame::Datagram(target, payload)));
        }
        NOT_SENT => {
            let reason = reason(&mut body)?;
            let (target, length) = Target::parse(&body)?.ok_or(FrameError::Short)?;
            body.advance(length);
            Frame::NotSent(reason, target)
        }
        other => return Err(FrameError::Kind(other)),
    };
    if body.is_empty() { Ok(Some(frame)) } else { Err(FrameError::Long) }
}

/// Writes a frame with its length in front.
pub fn encode_frame(frame: &Frame) -> Bytes {
    let mut out = vec![0; 4];
    match frame {
        Frame::Open => out.push(OPEN),
        Frame::Opened => out.push(OPENED),
        Frame::Refused(reason) => out.extend([REFUSED, code(*reason)]),
        Frame::Datagram(target, payload) => {
            out.reserve(payload.len() + 32);
            out.push(DATAGRAM);
            target.write(&mut out);
            out.extend(payload);
        }
        Frame::NotSent(reason, target) => {
            out.extend([NOT_SENT, code(*reason)]);
            target.write(&mut out);
        }
    }
    // Far below 4 GiB: the longest payload and name are bounded.
    let length = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&length.to_be_bytes());
    out.into()
}

/// Reads a datagram of the carrier: the number of its association, the address, the payload.
pub fn decode_datagram(mut datagram: Bytes) -> Result<(u32, Target, Bytes), FrameError> {
    let number = datagram.try_get_u32().map_err(|_| FrameError::Short)?;
    let (target, payload) = addressed(datagram)?;
    Ok((number, target, payload))
}

/// Writes a datagram of the carrier.
pub fn encode_datagram(number: u32, target: &Target, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(payload.len() + 32);
    out.extend(number.to_be_bytes());
    target.write(&mut out);
    out.extend(payload);
    out.into()
}

fn addressed(mut body: Bytes) -> Result<(Target, Bytes), FrameError> {
    let (target, length) = Target::parse(&body)?.ok_or(FrameError::Short)?;
    body.advance(length);
    if body.len() > MAX_UDP_PAYLOAD_BYTES {
        return Err(FrameError::Payload(body.len()));
    }
    Ok((target, body))
}

fn code(reason: ReachError) -> u8 {
    match reason {
        ReachError::Refused | ReachError::NoTunnel => 0,
        ReachError::Denied => 1,
        ReachError::Unreachable => 2,
        ReachError::TimedOut => 3,
        ReachError::Full => 4,
    }
}

/// Reads a reason; one that is not known says no more than that it failed.
fn reason(body: &mut Bytes) -> Result<ReachError, FrameError> {
    Ok(match body.try_get_u8().map_err(|_| FrameError::Short)? {
        1 => ReachError::Denied,
        2 => ReachError::Unreachable,
        3 => ReachError::TimedOut,
        4 => ReachError::Full,
        _ => ReachError::Refused,
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::socks::TargetHost;

    fn name(port: u16) -> Target {
        Target { host: TargetHost::name(b"example.org").unwrap(), port }
    }

    fn decode(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
        decode_frame(&mut BytesMut::from(bytes))
    }

    #[test]
    fn frames_read_back_as_they_were_written_one_after_the_other() {
        // SOCKS-15
        let longest = Target { host: TargetHost::name(&[b'a'; 255]).unwrap(), port: 1 };
        let frames = [
            Frame::Open,
            Frame::Opened,
            Frame::Refused(ReachError::Full),
            Frame::Datagram(name(53), Bytes::new()),
            Frame::Datagram(longest, vec![7; MAX_UDP_PAYLOAD_BYTES].into()),
            Frame::NotSent(ReachError::Denied, name(0)),
        ];
        let mut buffer = BytesMut::new();
        frames.iter().for_each(|frame| buffer.extend_from_slice(&encode_frame(frame)));
        for frame in frames {
            assert_eq!(decode_frame(&mut buffer), Ok(Some(frame)));
        }
        assert_eq!(decode_frame(&mut buffer), Ok(None));
        let whole = encode_frame(&Frame::NotSent(ReachError::TimedOut, name(1)));
        for cut in 0..whole.len() {
            assert_eq!(decode(&whole[..cut]), Ok(None), "cut at {cut}");
        }
    }

    #[test]
    fn datagrams_read_back_as_they_were_written() {
        // SOCKS-16
        let bytes = encode_datagram(7, &name(53), b"question");
        assert_eq!(decode_datagram(bytes), Ok((7, name(53), Bytes::from_static(b"question"))));
        assert_eq!(decode_datagram(Bytes::from_static(b"\0\0\0")), Err(FrameError::Short));
        assert_eq!(decode_datagram(Bytes::from_static(b"\0\0\0\x01\x01\x7f")), Err(FrameError::Short));
    }

    #[test]
    fn bad_frames_are_named_after_their_defect() {
        // SOCKS-15
        let long_length = (MAX_UDP_FRAME_BYTES as u32 + 1).to_be_bytes();
        let too_much = {
            let target = Target::from(SocketAddr::from(([127, 0, 0, 1], 1)));
            encode_frame(&Frame::Datagram(target, vec![0; MAX_UDP_PAYLOAD_BYTES + 1].into()))
        };
        let table: [(&str, &[u8], FrameError); 8] = [
            ("no-length", b"\0\0\0\0", FrameError::Length(0)),
            ("announced-too-long", &long_length, FrameError::Length(MAX_UDP_FRAME_BYTES + 1)),
            ("unknown-kind", b"\0\0\0\x01\x05", FrameError::Kind(5)),
            ("open-with-more", b"\0\0\0\x02\0\0", FrameError::Long),
            ("refused-for-nothing", b"\0\0\0\x01\x02", FrameError::Short),
            ("no-address", b"\0\0\0\x01\x03", FrameError::Short),
            ("bad-address", b"\0\0\0\x02\x03\x09", FrameError::Target(InvalidTarget::Kind(9))),
            ("too-long-a-datagram", &too_much, FrameError::Payload(MAX_UDP_PAYLOAD_BYTES + 1)),
        ];
        for (defect, bytes, error) in table {
            assert_eq!(decode(bytes), Err(error), "{defect}");
        }
    }

    #[test]
    fn an_unknown_reason_is_a_failure() {
        assert_eq!(decode(b"\0\0\0\x02\x02\xee"), Ok(Some(Frame::Refused(ReachError::Refused))));
    }
}
