//! The maths of one memory series: pure, no clock, no I/O, no allocation per sample.
//!
//! It is a crate of its own because the same figures are shown in three places: the collector
//! judges with them, `replay` prints them, and the agent needs them for the meter of a server
//! that has no collector. One implementation, so the user, the hub page and a script never see
//! two different speeds.

pub mod forecast;
pub mod momentum;
pub mod series;
pub mod tracker;
pub mod trend;
