//! What the tests across programs share; the tests themselves are in `tests/`.

pub mod faults;
pub mod program;
pub mod score;
pub mod swarm;
