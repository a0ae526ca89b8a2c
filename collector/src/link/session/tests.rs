//! What streams are asked for.

mod drowning;
mod shedding;
mod watching;
