//! hubmeter's collector.

pub mod clock;
pub mod fact;
pub mod serve;
pub mod state;
pub mod text;
pub mod verdict;
