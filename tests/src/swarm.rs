//! Many agents in one process, each with the agent's own spool, encoder and link: only what they
//! sample is made up. They speak to a real collector process, whose hub is made up too.
//!
//! * [`load`] is what their servers do; [`agent`] is one of them, [`fleet`] all of them.
//! * [`hub`] answers who is who, and counts how often it was asked.
//! * [`collector`] is the process under test: started, killed, restarted, asked; [`cost`] is what
//!   the kernel says it uses.
//! * [`relay`] is a network that can be cut.
//! * [`audit`] compares what agents have receipts for with what the collector's history holds.
//! * [`storm`], [`rounds`], [`cut`], [`steady`] and [`account`] are what is done with them.

pub mod account;
pub mod agent;
pub mod audit;
pub mod collector;
pub mod cost;
pub mod cut;
pub mod fleet;
pub mod hub;
pub mod load;
pub mod relay;
pub mod rounds;
pub mod steady;
pub mod storm;
