//! Every bound that both ends of the link rely on, each with its reason.
//!
//! A bound that only one program knows lives in that program.

use std::time::Duration;

/// Encoded size of one message. A keyframe of the largest admitted server is under 48 KiB; the
/// rest is room for version 2.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Samples in one report: what an agent gathers in the longest batch it may hold back (60 s at
/// one sample a second).
pub const SAMPLES_PER_REPORT_MAX: usize = 60;

/// How long samples may be held back to go out together: what a person may not notice when nobody
/// looks, and what the collector forgives beyond three intervals of silence.
pub const HOLD_MAX: Duration = Duration::from_secs(60);

/// Workloads in one sample: the agent sends the largest and folds the rest into `other`.
pub const WORKLOADS_PER_SAMPLE_MAX: usize = 64;

/// Workloads that may end between two samples.
pub const ENDED_PER_SAMPLE_MAX: usize = 64;

/// Bytes of a name, id or notebook after cleaning.
pub const LABEL_BYTES_MAX: usize = 128;

/// Notices in one Shown: as many as an agent keeps open.
pub const SHOWN_MAX: usize = 32;

/// Bytes of an episode's name.
pub const EPISODE_BYTES_MAX: usize = 64;

/// Bytes of a cgroup path in `memory_limit_source`: Kubernetes' are about 200.
pub const LIMIT_SOURCE_BYTES_MAX: usize = 512;

/// Bytes of an instance id.
pub const INSTANCE_ID_BYTES: usize = 16;

/// Shortest interval between base samples.
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Longest interval between base samples.
pub const INTERVAL_MAX: Duration = Duration::from_secs(60);

/// Interval when nobody says otherwise.
pub const INTERVAL_DEFAULT: Duration = Duration::from_secs(5);

/// A message of the collector's that must not wait is at least so long: some ten receipts. An agent
/// need not wake for less.
pub const URGENT_BYTES: usize = 512;

/// Time for Hello after the stream opened, and for Welcome after Hello.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an agent that ends waits for its last receipts.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
