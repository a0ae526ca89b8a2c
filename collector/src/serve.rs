//! What people and scripts ask: HTTP, JSON and server-sent events under the service prefix.

pub mod shape;
