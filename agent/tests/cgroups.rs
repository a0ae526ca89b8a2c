//! Real cgroups of both versions, and real quotas: what the kernel charges, kills and limits,
//! against what we say.
//!
//! Few machines mount version 2 with controllers where a test may make groups, so `cargo xtask vm`
//! runs this very program in a small virtual machine too, where nothing may be left out. What a
//! machine doesn't offer is said and left out elsewhere.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub
)]

#[path = "cgroups/bed.rs"]
mod bed;
#[path = "cgroups/killed.rs"]
mod killed;
#[path = "cgroups/quota.rs"]
mod quota;
#[path = "cgroups/version_1.rs"]
mod version_1;
#[path = "cgroups/version_2.rs"]
mod version_2;
