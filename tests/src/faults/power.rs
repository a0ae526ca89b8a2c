//! Placeholder while written.
