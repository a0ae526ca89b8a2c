//! hubmeter's agent.

pub mod sample;
