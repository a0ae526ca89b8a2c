//! hubmeter's collector.
//!
//! ```text
//!  agents                                                                      people, scripts
//!    │ gRPC                                                                          ▲ HTTP
//!    ▼                                                                               │
//!  link ──► inbox ──────────► pipeline ─────────────────► state ──(shared)──────► serve
//!  listen    commit, then       facts in order,             ▲                       ▲
//!  identify  receipt back       time as ticks               │                       │
//!  session     ▲                  │        │             kinetics, verdict          │
//!  admit       │ checkpoint       │        └► tell ──► notice (mail, webhook)       │
//!    ▲         │                  ▼            │                                    │
//!    │         └─── flush ◄─── history ────────┼────────────────────────────────────┘
//!    └──────────────────────────────────────── ┘ (notice to the person at the server)
//!  hub ──► hub list ──► pipeline (Fact::Hub), identify (tokens in doubt)
//! ```
//!
//! Threads: the asynchronous ones serve sockets and the hub; the inbox's clerk, the pipeline, the
//! teller and the flusher have one each, joined by bounded channels. They stop in the order of the
//! flow, each after what came before it has ended, so nothing that was taken is left behind.

pub mod backup;
mod causes;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod cull;
mod culler;
pub mod data_dir;
pub mod database;
pub mod export;
pub mod fact;
pub mod forget;
pub mod format;
pub mod history;
pub mod hub;
pub mod inbox;
pub mod limits;
pub mod link;
pub mod notice;
pub mod peer;
pub mod person;
pub mod pipeline;
pub mod pressure;
pub mod registry;
pub mod replay;
pub mod report;
pub mod run;
pub mod serve;
pub mod socket;
pub mod state;
pub mod stats;
pub mod systemd;
pub mod text;
pub mod usage;
pub mod verdict;
pub mod warning;

pub use run::run;
