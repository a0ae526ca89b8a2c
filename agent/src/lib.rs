//! hubmeter's agent: sits beside one single-user server, reads what its processes really use,
//! and tells.
//!
//! The flow, by module: [`sample`] (what the machine says) → [`workload`] (whose it is) →
//! `rate` (what changed) → [`sampler`] (one sample per tick).

pub mod clock;
pub mod config;
pub mod sample;
pub mod sampler;
pub mod workload;
