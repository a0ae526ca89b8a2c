//! hubmeter's agent: sits beside one single-user server, reads what its processes really use,
//! and tells.
//!
//! The flow, by module: [`sample`] (what the machine says) → [`workload`] (whose it is) →
//! [`rate`] (what changed) → [`sampler`] (one sample per tick) → [`urgency`],
//! [`spool`] and [`link`] (to the
//! collector), [`meter`], [`board`] and [`local`] (to the meter on this machine). [`run`] ties
//! them together. [`show`] and [`doctor`] print once and end.

// The machines built of files are shared with the tests outside of the library.
#[cfg(test)]
extern crate self as hubmeter_agent;
#[cfg(test)]
#[path = "../tests/built_machine/machine.rs"]
#[allow(unreachable_pub, dead_code, clippy::expect_used, clippy::unwrap_used)]
mod machine;

pub mod board;
pub mod clock;
pub mod config;
pub mod doctor;
pub mod link;
pub mod local;
pub mod log;
pub mod meter;
pub mod person;
pub mod rate;
pub mod rhythm;
pub mod run;
pub mod sample;
pub mod sampler;
pub mod settings;
pub mod show;
pub mod spool;
pub mod stop;
pub mod urgency;
pub mod workload;
