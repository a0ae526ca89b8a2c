//! hubmeter's collector.

pub mod clock;
pub mod cull;
pub mod fact;
pub mod state;
pub mod text;
pub mod verdict;
