//! Disks that fail, power that goes, clocks that jump: what becomes of what was acknowledged.
//!
//! * [`slots`] and [`shim`] steer a library that stands between a program and its disk
//!   (`tests/shim`); it works in this process or in a collector's.
//! * [`life`] is the collector's store without its sockets: inbox, state and history, on the code
//!   that runs live. [`agents`] hand in reports and keep them until their receipt.
//! * [`case`] is one run under one fault, judged; [`sweep`] is all of them.
//! * [`program`] is a whole collector, as it is run, under agents that go on.
//! * [`damage`] cuts bytes off and flips bits.
//! * [`record`] reads what was done to the disk, and [`image`] builds what a power cut leaves.

pub mod agents;
pub mod case;
pub mod damage;
pub mod image;
pub mod life;
pub mod power;
pub mod program;
pub mod record;
pub mod shim;
pub mod slots;
pub mod sweep;
