//! What a row holds: entries one after another, and a checksum over all of them.
//!
//! An entry is `kind, user, server, instance, arrived_ms, offset_ms, message`; numbers are
//! little-endian, strings and the message carry their length before them. The encoding never
//! changes: a new one gets a new `kind`.

use bytes::{Buf as _, BufMut as _, Bytes};

use super::{
    Body, Entry,
    marks::{Life, Marks},
};
use crate::{
    fact::{Fact, InstanceId, ServerKey},
    link::admit::{self, ClockOffset, Incoming},
};

const MESSAGE: u8 = 1;
const ENDED: u8 = 2;
const ENDED_WITH_FAREWELL: u8 = 3;
const STARTED: u8 = 4;
const PACED: u8 = 5;

/// Bytes of everything but names and message: kind, three lengths, instance, two times.
const FIXED_BYTES: usize = 1 + 2 + 2 + 4 + 16 + 8 + 8;

pub(super) fn entry_bytes(entry: &Entry) -> usize {
    let message = match &entry.body {
        Body::Message(bytes) => bytes.len(),
        Body::Paced { .. } => size_of::<u32>(),
        Body::Ended { .. } | Body::Started => 0,
    };
    FIXED_BYTES + entry.key.user.len() + entry.key.server.len() + message
}

/// The payload and its CRC32C.
pub(super) fn encode<'a>(entries: impl Iterator<Item = &'a Entry>) -> (Vec<u8>, u32) {
    let mut out = Vec::new();
    for entry in entries {
        let hold;
        let (kind, message): (u8, &[u8]) = match &entry.body {
            Body::Message(bytes) => (MESSAGE, bytes),
            Body::Ended { farewell: false } => (ENDED, &[]),
            Body::Ended { farewell: true } => (ENDED_WITH_FAREWELL, &[]),
            Body::Started => (STARTED, &[]),
            Body::Paced { hold_ms } => {
                hold = hold_ms.to_le_bytes();
                (PACED, &hold)
            }
        };
        out.put_u8(kind);
        put_key(&mut out, &entry.key);
        out.put_slice(&entry.instance.0);
        out.put_i64_le(entry.arrived_ms);
        out.put_i64_le(entry.clock.offset_ms);
        out.put_u32_le(u32::try_from(message.len()).unwrap_or(u32::MAX));
        out.put_slice(message);
    }
    let crc = crc32c::crc32c(&out);
    (out, crc)
}

fn put_key(out: &mut Vec<u8>, key: &ServerKey) {
    for name in [&key.user, &key.server] {
        // Names are bounded far below; one that were not would not decode.
        out.put_u16_le(u16::try_from(name.len()).unwrap_or(u16::MAX));
        out.put_slice(name.as_bytes());
    }
}

/// The marks and their CRC32C: the checkpoint, then `user, server, instance, seq, at_ms` of each.
pub(super) fn encode_marks(marks: &Marks) -> (Vec<u8>, u32) {
    let mut out = Vec::new();
    out.put_i64_le(marks.checkpoint);
    for (key, life) in &marks.lives {
        put_key(&mut out, key);
        out.put_slice(&life.instance.0);
        out.put_u64_le(life.through_seq);
        out.put_i64_le(life.at_ms);
    }
    let crc = crc32c::crc32c(&out);
    (out, crc)
}

/// The marks, or nothing when they are not what was written.
pub(super) fn decode_marks(payload: &[u8], crc: u32) -> Option<Marks> {
    if crc32c::crc32c(payload) != crc {
        return None;
    }
    let mut rest = Bytes::copy_from_slice(payload);
    let mut marks = Marks {
        checkpoint: rest.try_get_i64_le().ok()?,
        lives: Vec::new(),
    };
    while rest.has_remaining() {
        let key = decode_key(&mut rest)?;
        let mut instance = InstanceId([0; 16]);
        rest.try_copy_to_slice(&mut instance.0).ok()?;
        let life = Life {
            instance,
            through_seq: rest.try_get_u64_le().ok()?,
            at_ms: rest.try_get_i64_le().ok()?,
        };
        marks.lives.push((key, life));
    }
    Some(marks)
}

/// The entries, or nothing when the row is not what was written.
pub(super) fn decode(payload: &[u8], crc: u32) -> Option<Vec<Entry>> {
    if crc32c::crc32c(payload) != crc {
        return None;
    }
    let mut rest = Bytes::copy_from_slice(payload);
    let mut entries = Vec::new();
    while rest.has_remaining() {
        entries.push(decode_entry(&mut rest)?);
    }
    Some(entries)
}

fn decode_entry(rest: &mut Bytes) -> Option<Entry> {
    let kind = rest.try_get_u8().ok()?;
    let key = decode_key(rest)?;
    let mut instance = InstanceId([0; 16]);
    rest.try_copy_to_slice(&mut instance.0).ok()?;
    let arrived_ms = rest.try_get_i64_le().ok()?;
    let offset_ms = rest.try_get_i64_le().ok()?;
    let length = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
    let message = (length <= rest.len()).then(|| rest.split_to(length))?;
    Some(Entry {
        key,
        instance,
        arrived_ms,
        clock: ClockOffset { offset_ms },
        body: match kind {
            MESSAGE => Body::Message(message),
            ENDED => Body::Ended { farewell: false },
            ENDED_WITH_FAREWELL => Body::Ended { farewell: true },
            STARTED => Body::Started,
            PACED => Body::Paced {
                hold_ms: u32::from_le_bytes(message[..].try_into().ok()?),
            },
            _ => return None,
        },
    })
}

fn decode_key(rest: &mut Bytes) -> Option<ServerKey> {
    let user = decode_name(rest)?;
    let server = decode_name(rest)?;
    Some(ServerKey::new(&user, &server))
}

fn decode_name(rest: &mut Bytes) -> Option<String> {
    let length = usize::from(rest.try_get_u16_le().ok()?);
    let bytes = (length <= rest.len()).then(|| rest.split_to(length))?;
    String::from_utf8(bytes.into()).ok()
}

/// What an entry means, and the last report it covers: the same when it is read again as when it
/// came. `None` when it means nothing (any more).
pub fn fact_of(entry: &Entry) -> Option<(Fact, Option<u64>)> {
    let message = match &entry.body {
        Body::Message(bytes) => admit::read(bytes, entry.arrived_ms, entry.clock).ok()?,
        Body::Ended { farewell } => {
            let fact = Fact::Disconnected {
                at_ms: entry.arrived_ms,
                key: entry.key.clone(),
                instance: entry.instance,
                farewell: *farewell,
            };
            return Some((fact, None));
        }
        Body::Paced { hold_ms } => {
            let fact = Fact::Paced {
                at_ms: entry.arrived_ms,
                key: entry.key.clone(),
                instance: entry.instance,
                hold_ms: *hold_ms,
            };
            return Some((fact, None));
        }
        Body::Started => {
            let at_ms = entry.arrived_ms;
            return Some((Fact::Started { at_ms }, None));
        }
    };
    fact_from(entry, message)
}

/// The same for a message that was just read.
pub fn fact_from(entry: &Entry, message: Incoming) -> Option<(Fact, Option<u64>)> {
    let (key, instance, at_ms) = (entry.key.clone(), entry.instance, entry.arrived_ms);
    Some(match message {
        Incoming::Hello(hello) => {
            let fact = Fact::Connected {
                at_ms,
                key,
                instance,
                host: hello.host,
                interval_ms: hello.interval_ms,
            };
            (fact, None)
        }
        Incoming::Report { seq, samples } => {
            let fact = Fact::Report {
                arrived_ms: at_ms,
                key,
                instance,
                seq,
                samples,
            };
            (fact, Some(seq))
        }
        Incoming::Gap {
            from_seq,
            through_seq,
        } => {
            let fact = Fact::Gap {
                at_ms,
                key,
                instance,
                from_seq,
                through_seq,
            };
            (fact, Some(through_seq))
        }
        Incoming::Activity(activity) => {
            let fact = Fact::Activity {
                at_ms,
                key,
                instance,
                activity,
            };
            (fact, None)
        }
        Incoming::Shown(episodes) => {
            let fact = Fact::Shown {
                at_ms,
                key,
                episodes,
            };
            (fact, None)
        }
        // What a batch says is kept report by report.
        Incoming::Batch(_) | Incoming::Bye => return None,
    })
}
