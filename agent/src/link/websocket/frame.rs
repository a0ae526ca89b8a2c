//! Frames of a WebSocket (RFC 6455 §5), as a client sends and takes them.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use hubmeter_proto::limits::MESSAGE_BYTES_MAX;

/// Payload of a frame that steers the connection: the standard's bound.
const CONTROL_BYTES_MAX: usize = 125;

/// The last frame of its message.
const FINAL: u8 = 0x80;
/// Bits that only extensions use, of which we ask for none.
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
/// In place of a length: two, or eight, bytes of length follow.
const LENGTH_OF_2: u8 = 126;
const LENGTH_OF_8: u8 = 127;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What came, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Message(Bytes),
    /// To be answered with the same bytes.
    Ping(Bytes),
    /// Nothing follows.
    Close,
    /// Nothing to us.
    Other,
}

/// What no server may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a frame of an extension or a client")]
    Foreign,
    #[error("a frame of more than {MESSAGE_BYTES_MAX} bytes")]
    Large,
    #[error("a frame in the middle of another message")]
    Order,
}

/// Puts frames together.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// The message so far, and whether it is one of ours; text is not.
    part: Option<(BytesMut, bool)>,
}

/// The first bytes of a frame.
struct Head {
    is_final: bool,
    opcode: u8,
    head_bytes: usize,
    payload_bytes: usize,
}

// === impl Assembly ===

impl Assembly {
    /// The next frame of `incoming`, once it is there to its end. Parts of a message are kept.
    pub(super) fn next(&mut self, incoming: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(head) = Head::of(incoming)? else {
            return Ok(None);
        };
        if incoming.len() - head.head_bytes < head.payload_bytes {
            return Ok(None);
        }
        incoming.advance(head.head_bytes);
        let payload = incoming.split_to(head.payload_bytes);
        let frame = match head.opcode {
            CLOSE => Frame::Close,
            PING => Frame::Ping(payload.freeze()),
            PONG => Frame::Other,
            _ => return self.take_part(&head, payload).map(Some),
        };
        Ok(Some(frame))
    }

    fn take_part(&mut self, head: &Head, payload: BytesMut) -> Result<Frame, FrameError> {
        let (whole, is_ours) = match (self.part.take(), head.opcode) {
            (None, TEXT | BINARY) => (payload, head.opcode == BINARY),
            (Some((mut before, is_ours)), CONTINUATION) => {
                if before.len() + payload.len() > MESSAGE_BYTES_MAX {
                    return Err(FrameError::Large);
                }
                before.unsplit(payload);
                (before, is_ours)
            }
            _ => return Err(FrameError::Order),
        };
        if !head.is_final {
            self.part = Some((whole, is_ours));
            return Ok(Frame::Other);
        }
        Ok(match is_ours {
            true => Frame::Message(whole.freeze()),
            false => Frame::Other,
        })
    }
}

// === impl Head ===

impl Head {
    fn of(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        let &[first, second, ref rest @ ..] = bytes else {
            return Ok(None);
        };
        let opcode = first & OPCODE;
        let known = matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG);
        if first & RESERVED != 0 || second & MASKED != 0 || !known {
            return Err(FrameError::Foreign);
        }
        let mut rest = rest;
        let (length, more_bytes) = match second {
            LENGTH_OF_2 if rest.len() < 2 => return Ok(None),
            LENGTH_OF_2 => (u64::from(rest.get_u16()), 2),
            LENGTH_OF_8 if rest.len() < 8 => return Ok(None),
            LENGTH_OF_8 => (rest.get_u64(), 8),
            length => (length.into(), 0),
        };
        let is_control = opcode >= CLOSE;
        let bytes_max = if is_control {
            CONTROL_BYTES_MAX
        } else {
            MESSAGE_BYTES_MAX
        };
        let payload_bytes = usize::try_from(length)
            .ok()
            .filter(|&bytes| bytes <= bytes_max)
            .ok_or(FrameError::Large)?;
        if is_control && first & FINAL == 0 {
            return Err(FrameError::Order);
        }
        Ok(Some(Self {
            is_final: first & FINAL != 0,
            opcode,
            head_bytes: 2 + more_bytes,
            payload_bytes,
        }))
    }
}

/// Puts a message, masked as a client must.
pub(super) fn put_message(outgoing: &mut BytesMut, message: &[u8], mask: [u8; 4]) {
    put(outgoing, BINARY, message, mask);
}

/// Answers a ping.
pub(super) fn put_pong(outgoing: &mut BytesMut, payload: &[u8], mask: [u8; 4]) {
    put(outgoing, PONG, payload, mask);
}

/// Says that nothing follows.
pub(super) fn put_close(outgoing: &mut BytesMut, mask: [u8; 4]) {
    put(outgoing, CLOSE, &[], mask);
}

fn put(outgoing: &mut BytesMut, opcode: u8, payload: &[u8], mask: [u8; 4]) {
    outgoing.put_u8(FINAL | opcode);
    match payload.len() {
        length @ 0..126 => outgoing.put_u8(MASKED | length as u8),
        length @ 126..0x1_0000 => {
            outgoing.put_u8(MASKED | LENGTH_OF_2);
            outgoing.put_u16(length as u16);
        }
        length => {
            outgoing.put_u8(MASKED | LENGTH_OF_8);
            outgoing.put_u64(length as u64);
        }
    }
    outgoing.put_slice(&mask);
    outgoing.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As a server sends it: no mask.
    fn served(is_final: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        put(&mut bytes, opcode, payload, [0; 4]);
        let masked_at = 1;
        bytes[masked_at] &= !MASKED;
        let head_bytes = bytes.len() - payload.len() - 4;
        let mut out = bytes[..head_bytes].to_vec();
        out.extend_from_slice(payload);
        if !is_final {
            out[0] &= !FINAL;
        }
        out
    }

    fn all(bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
        let mut assembly = Assembly::default();
        let mut incoming = BytesMut::from(bytes);
        let mut frames = Vec::new();
        while let Some(frame) = assembly.next(&mut incoming)? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[test]
    fn a_message_in_parts_with_a_ping_between_them_is_one_message() {
        let mut bytes = served(false, BINARY, b"one ");
        bytes.extend(served(true, PING, b"there?"));
        bytes.extend(served(true, CONTINUATION, b"message"));
        bytes.extend(served(true, TEXT, b"not ours"));
        bytes.extend(served(true, CLOSE, &[3, 232]));
        let expected = [
            Frame::Other,
            Frame::Ping(Bytes::from_static(b"there?")),
            Frame::Message(Bytes::from_static(b"one message")),
            Frame::Other,
            Frame::Close,
        ];
        assert_eq!(all(&bytes), Ok(expected.to_vec()));
    }

    #[test]
    fn what_no_server_may_send_is_an_error_and_not_waited_for() {
        let masked = [FINAL | BINARY, MASKED | 1];
        let extension = [FINAL | 0x40 | BINARY, 1];
        let unknown = [FINAL | 5, 0];
        for bytes in [masked, extension, unknown] {
            assert_eq!(all(&bytes), Err(FrameError::Foreign));
        }
        let large = [FINAL | BINARY, LENGTH_OF_8, 0, 0, 0, 1, 0, 0, 0, 0];
        assert_eq!(all(&large), Err(FrameError::Large));
        assert_eq!(
            all(&[FINAL | PING, LENGTH_OF_2, 0, 126]),
            Err(FrameError::Large)
        );
        assert_eq!(
            all(&served(true, CONTINUATION, b"x")),
            Err(FrameError::Order)
        );
        let mut two = served(false, BINARY, b"x");
        two.extend(served(true, BINARY, b"y"));
        assert_eq!(all(&two), Err(FrameError::Order));
        let mut parts = served(false, BINARY, &vec![1; MESSAGE_BYTES_MAX]);
        parts.extend(served(true, CONTINUATION, b"and one more"));
        assert_eq!(all(&parts), Err(FrameError::Large));
    }

    proptest! {
        #[test]
        fn frames_are_the_same_however_they_are_cut_on_the_way(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 1..6),
            pieces in 1_usize..50,
        ) {
            let mut bytes = Vec::new();
            for payload in &payloads {
                bytes.extend(served(true, BINARY, payload));
            }
            let mut assembly = Assembly::default();
            let mut incoming = BytesMut::new();
            let mut came = Vec::new();
            for piece in bytes.chunks(pieces) {
                incoming.extend_from_slice(piece);
                while let Some(frame) = assembly.next(&mut incoming).unwrap() {
                    came.push(frame);
                }
            }
            let sent = payloads.into_iter().map(|p| Frame::Message(p.into()));
            prop_assert_eq!(came, sent.collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_frames_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = all(&bytes);
        }
    }
}
