//! How well detectors judge the corpus (`tests/corpus/`): who warns in time, and who cries wolf.
//!
//! ```text
//! corpus ──► episodes (trace × limit × interval) ──► detectors ──► outcomes ──► table, pictures
//! ```
//!
//! The words: a crossing is *caught* when an alarm is open at the sample before it; its *lead* counts from
//! when that alarm was raised without a break. An alarm is *false* when it is raised and memory then never goes
//! half of the remaining way to the limit, on a trace that does not cross and does not still rise when it ends.

pub mod baselines;
pub mod corpus;
pub mod cross;
pub mod detector;
pub mod generated;
pub mod outcome;
pub mod picture;
pub mod portrait;
pub mod table;
