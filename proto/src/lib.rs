//! hubmeter's wire.
//!
//! [`v1`] is generated from `hubmeter/v1/*.proto` and committed; `tests/generated.rs` fails when
//! the two drift apart (`UPDATE=1 cargo test -p hubmeter-proto` writes it anew). [`limits`] holds
//! every bound that both ends rely on.
//!
//! [`delta`] is how samples are told since version 2.
//!
//! Only the agent's `link` and `spool` and the collector's `link/admit` may name the types of [`v1`].

pub mod delta;
pub mod limits;

/// Version 1 of the protocol.
pub mod v1 {
    #![allow(missing_docs, clippy::all, unreachable_pub)]
    include!("gen/hubmeter.v1.rs");
}

/// The newest protocol version this build speaks.
pub const PROTOCOL_VERSION: u32 = 2;

/// The first version in which samples are told as differences, several at once, and held back.
pub const PROTOCOL_BATCHES: u32 = 2;

/// The header of an answer that refuses an agent's WebSocket: why, in words.
pub const REFUSED_HEADER: &str = "hubmeter-refused";
