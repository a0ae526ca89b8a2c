//! Every bound of the collector, each with its reason. Bounds that the agent relies on too are in
//! [`hubmeter_proto::limits`].
//!
//! What is driven by input ends somewhere; reaching an end is counted (`hubmeter_rejected_total`,
//! `hubmeter_limit_dropped_total`), never silent.

use std::time::Duration;

// === hub ===

/// Answer to `GET /user`: a token of an admin lists some hundred scopes; groups may add to it.
pub const HUB_IDENTITY_BYTES_MAX: usize = 256 * 1024;

/// First guess of an answer's size.
pub const HUB_ANSWER_BYTES_USUAL: usize = 8 * 1024;

/// Users per page: the hub's default `api_page_max_limit`.
pub const HUB_PAGE_USERS: usize = 200;

/// One page of users with their servers and options.
pub const HUB_PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Pages of one list: 50,000 users at an admin's page limit of 50.
pub const HUB_PAGES_MAX: usize = 1_000;

/// Bytes of a user, server or group name. The hub's own columns take 255 characters.
pub const HUB_NAME_BYTES_MAX: usize = 255 * 4;

/// Groups kept per user.
pub const GROUPS_PER_USER_MAX: usize = 64;

/// Servers kept in state: twice the 50,000 that the design measures.
pub const SERVERS_MAX: usize = 100_000;

// === identity ===

/// Bytes of a bearer token. The hub's are 32 hex digits; custom ones may reach 64.
pub const TOKEN_BYTES_MAX: usize = 256;

/// Questions to the hub about tokens, per second: a reconnecting hub must not be stormed.
pub const VERIFY_PER_SECOND: u32 = 10;

/// Questions about tokens under way at once.
pub const VERIFY_CONCURRENT_MAX: usize = 16;

/// A known token is taken without asking for this long: the time a revoked one keeps working.
pub const TOKEN_FRESH: Duration = Duration::from_secs(60);

/// While the hub does not answer, a known token is taken for this much longer.
pub const TOKEN_GRACE: Duration = Duration::from_secs(10 * 60);

// === link ===

/// Live streams when the settings say nothing: the design's tested size.
pub const STREAMS_DEFAULT: usize = 10_000;
