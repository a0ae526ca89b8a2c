//! hubmeter's collector.

pub mod clock;
pub mod config;
pub mod fact;
pub mod hub;
pub mod limits;
pub mod pipeline;
pub mod serve;
pub mod state;
pub mod stats;
pub mod text;
pub mod verdict;
