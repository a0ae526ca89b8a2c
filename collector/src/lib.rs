//! hubmeter's collector.

pub mod clock;
pub mod database;
pub mod fact;
pub mod history;
pub mod notice;
pub mod registry;
pub mod state;
pub mod text;
pub mod verdict;
