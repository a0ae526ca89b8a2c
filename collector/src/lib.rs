//! hubmeter's collector.

pub mod clock;
pub mod config;
pub mod database;
pub mod fact;
pub mod history;
pub mod hub;
pub mod limits;
pub mod notice;
pub mod peer;
pub mod pipeline;
pub mod registry;
pub mod serve;
pub mod state;
pub mod stats;
pub mod text;
pub mod verdict;
