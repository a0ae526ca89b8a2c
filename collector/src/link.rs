//! The agents' way in: bytes → trusted facts.
//!
//! ```text
//!  door ────► identify ──► session ──► admit ──► inbox
//!  sockets,   whose token   one stream's  bytes →    commit, then
//!  TLS, HTTP/2              life          domain     receipt
//! ```
//!
//! * [`door`] accepts: a bounded place, and TLS or not; [`certificate`] is what we prove ourselves
//!   with. [`listen`] has every setting of HTTP/2.
//! * [`doorman`] says whose stream it is: the hub's word about the token ([`identify`]), or the
//!   kernel's about the peer's uid in standalone.
//! * [`websocket`] is the other carrier: the same messages through the hub's HTTP proxy.
//! * [`session`] lives as long as the stream: order, quotas, silence, receipts, notices.
//! * [`admit`] is the only door between wire types and ours, both ways.
//! * [`quota`] has the buckets, `turnstile` those of all agents together, and [`refusals`] is what
//!   is left of whoever does not get in.

pub mod admit;
pub mod certificate;
mod connection;
pub mod door;
pub mod doorman;
pub mod identify;
pub mod listen;
pub mod quota;
pub mod refusals;
pub mod session;
mod turnstile;
pub mod websocket;
