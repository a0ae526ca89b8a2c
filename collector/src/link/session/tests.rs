//! What streams are asked for.

mod shedding;
mod watching;
