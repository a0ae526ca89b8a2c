//! The real program, spoken to over its real sockets by a small agent and a fake hub.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod backup;
mod bounds;
mod durability;
mod encryption;
mod forget;
mod holds;
mod hub;
mod mute;
mod people;
mod raw;
mod rig;
mod slow;
mod streams;
mod town;
mod uids;
mod versions;
mod websocket;
