//! The real program, spoken to over its real sockets by a small agent and a fake hub.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod durability;
mod encryption;
mod hub;
mod rig;
mod streams;
mod versions;
mod websocket;
