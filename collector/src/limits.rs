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

/// Users read from the hub: 1,000 pages of its default limit.
pub const HUB_USERS_MAX: usize = 200_000;

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

/// Questions about tokens at once, before that rate holds.
pub const VERIFY_BURST: u64 = 20;

/// How long a refusal is remembered: a client that hammers costs one question in this time.
pub const VERIFY_REFUSED_KEPT: Duration = Duration::from_secs(10);

/// Refusals and questions under way that are remembered; beyond it the oldest are asked again.
pub const VERIFY_REMEMBERED_MAX: u64 = 10_000;

/// Questions about tokens under way at once.
pub const VERIFY_CONCURRENT_MAX: usize = 16;

/// A known token is taken without asking for this long: the time a revoked one keeps working.
pub const TOKEN_FRESH: Duration = Duration::from_secs(60);

/// While the hub does not answer, a known token is taken for this much longer.
pub const TOKEN_GRACE: Duration = Duration::from_secs(10 * 60);

// === link ===

/// Live streams when the settings say nothing: the design's tested size.
pub const STREAMS_DEFAULT: usize = 10_000;

/// Any number on the wire: what JSON's readers can hold exactly; 9 PB, 285,000 years of CPU.
pub const NUMBER_MAX: u64 = 1 << 53;

/// Processes or threads of one server: the kernel's `PID_MAX_LIMIT`.
pub const PROCESSES_MAX: u32 = 1 << 22;

/// A sample is at most this old when it arrives: as long as raw rows are kept, and longer than an
/// agent's spool lasts (a day and a half of an idle server).
pub const SAMPLE_AGE_MS_MAX: i64 = 48 * 60 * 60 * 1000;

/// Our clock was set when it parts from the clock since boot by this much; less is corrected all
/// the time.
pub const CLOCK_SET_MS_MIN: i64 = 500;

/// Bytes of a peer's or decoder's words in one log line.
pub const LOGGED_BYTES_MAX: usize = 200;

/// Reports of one server per second: one sample a second in a burst, and as much again.
pub const REPORTS_PER_SECOND: u64 = 2;

/// Reports of one server at once: a full spool, one sample each, five hours at five seconds.
pub const REPORTS_BURST: u64 = 4_096;

/// Bytes of one server per second.
pub const REPORT_BYTES_PER_SECOND: u64 = 32 * 1024;

/// Bytes of one server at once: five hours of reports, told whole.
pub const REPORT_BYTES_BURST: u64 = 8 * 1024 * 1024;

/// Streams one server may open per second, on average: nobody needs more than one in five.
pub const STREAMS_PER_SECOND: u64 = 1;

/// Streams one server may open at once: a crash loop of its agent.
pub const STREAMS_BURST: u64 = 20;

/// Quotas of servers that were quiet are forgotten when there are more of them than live streams
/// and this.
pub const QUOTAS_SPARE: usize = 1_000;

/// Time for a Bye to reach the peer's socket.
pub const BYE_TIMEOUT: Duration = Duration::from_secs(1);

/// Notices waiting for one server's stream; the oldest gives way.
pub const NOTICES_QUEUED_MAX: usize = 16;

/// What a WebSocket reads at once: a few reports.
pub const WEBSOCKET_BUFFER_BYTES: usize = 4 * 1024;

/// Proxies cut a WebSocket that is silent for 30 or 60 seconds.
pub const WEBSOCKET_PING_INTERVAL: Duration = Duration::from_secs(20);

/// Time for the last frames of a WebSocket to leave.
pub const WEBSOCKET_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Messages waiting for one server's socket. Receipts are not among them: they have one slot.
pub const DOWN_QUEUE: usize = 2;

/// Beyond three intervals, silence is forgiven for this long: the longest batch an agent may hold
/// back (60 s), and a slow network.
pub const SILENCE_SLACK: Duration = Duration::from_secs(75);

/// How long agents may hold reports back while nobody looks: the longest they could, less a slow
/// network. Sixty seconds without a byte make some address translators forget a connection.
pub const HOLD: Duration = Duration::from_secs(55);

/// After somebody looked at a server, its agent holds nothing back for this long: whoever asks
/// every few seconds sees every sample. A stream begins as if somebody did.
pub const WATCHED: Duration = Duration::from_secs(30);

/// Streams that may begin per second: 10,000 agents are all back within 20 seconds, and what each
/// costs (TLS, a Hello in the inbox) leaves most of a core to those who stream.
pub const ACCEPTS_PER_SECOND: u64 = 1_000;

/// Streams that may begin at once: a small hub comes back without anybody waiting.
pub const ACCEPTS_BURST: u64 = 2_000;

/// Those told to come back later that are kept count of: half a minute's worth. Beyond it they
/// share the longest wait, a minute, which is an agent's own.
pub const ACCEPTS_AWAY_MAX: u64 = 30_000;

/// The shortest time to come back in.
pub const ACCEPTS_WAIT_MIN: Duration = Duration::from_secs(1);

/// A refused peer's line of the log, per reason, this often: enough to see that it goes on.
pub const REFUSAL_TOLD_EVERY_MS: u64 = 10_000;

/// Peers and reasons that have a line of their own at once: with 300 bytes a line, 40 kB in ten
/// seconds, whoever floods.
pub const REFUSALS_TOLD_MAX: usize = 128;

/// Connections beyond the streams: handshakes, and old streams that a new one just replaced.
pub const CONNECTIONS_SPARE: usize = 256;

/// Each step until a connection is let in: its first byte, its ClientHello, the rest of TLS.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// TLS handshakes being computed at once: each costs about a millisecond of a core, so that more
/// would only make all of them slower, and a whole hub that reconnects keeps its turn. Waiting for
/// a peer's bytes is not computing and holds up nobody.
pub const HANDSHAKES_MAX: usize = 64;

/// A connection that was let in has a stream within this time, at first and after its last one:
/// who keeps it for nothing else holds a place that an agent could use.
pub const STREAM_WITHIN: Duration = Duration::from_secs(5);

/// How often certificate files are looked at again.
pub const CERTIFICATE_LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// Headers of a stream: the token is the largest.
pub const HEADER_LIST_BYTES_MAX: u32 = 8 * 1024;

/// Streams per connection: an agent needs one, and one more while it reconnects.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 4;

/// HTTP/2 windows, per stream and per connection. They bound nothing we rely on (the quota and the
/// inbox do); smaller ones shrink h2's budget for small frames.
pub const WINDOW_BYTES: u32 = 1024 * 1024;

/// HTTP/2 pings: a peer that went away without a word is noticed in half a minute.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// How long a ping may stay unanswered.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after `accept` failed for want of descriptors: they come back when somebody leaves.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

// === pages, API and the agents' WebSockets ===

/// Connections at once: three event streams and a few requests each for a few hundred browsers,
/// within the usual limit of 4096 open files that the link shares.
pub const HTTP_CONNECTIONS_MAX: usize = 2048;

/// From the first byte of a connection, or the end of the request before, to the end of headers.
/// Longer than the proxy's keep-alive, so that it is not we who cut a connection in use.
pub const HTTP_HEADERS_WITHIN: Duration = Duration::from_secs(30);

/// Bytes of one request's head: a token, a session's cookies, a cursor.
pub const HTTP_HEAD_BYTES_MAX: usize = 64 * 1024;

// === inbox ===

/// Commits are at least this far apart.
pub const COMMIT_INTERVAL: Duration = Duration::from_millis(250);

/// Messages waiting for a commit: two seconds of 10,000 servers at one a second.
pub const INBOX_QUEUE: usize = 20_000;

/// Bytes waiting for a commit.
pub const INBOX_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of one row: a crash loses no more of work in flight, a reader holds no more at once.
pub const ROW_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Rows are kept this long at least, so that a start can rebuild what detectors look back on.
pub const ROWS_KEPT_MS: i64 = 15 * 60 * 1000;

/// A failed commit is tried again after this, then twice as long, up to [`RETRY_MAX`].
pub const RETRY_MIN: Duration = Duration::from_millis(500);

/// The longest pause between tries.
pub const RETRY_MAX: Duration = Duration::from_secs(30);

/// How far an agent's life is on disk is remembered this long after it was last heard: longer than
/// its spool holds, so that one that comes back is told where to go on.
pub const LIVES_KEPT_MS: i64 = 24 * 60 * 60 * 1000;

/// Lives of one server's agent whose last report is remembered.
pub const INSTANCES_PER_SERVER_MAX: usize = 4;

// === shedding: what is given up when the inbox fills, in per cent of its room ===

/// From here on history keeps one row in [`SHED_HISTORY_KEEPS`].
pub const SHED_HISTORY_PERCENT: usize = 25;

/// Rows of the raw tier of which one is kept: the chart stays a chart.
pub const SHED_HISTORY_KEEPS: u64 = 4;

/// From here on agents are asked for a longer interval.
pub const SHED_INTERVAL_PERCENT: usize = 50;

/// How much longer: their silence is judged by the interval they came with, and three of those pass
/// before it is.
pub const SHED_INTERVAL_TIMES: u32 = 2;

/// From here on no stream may begin: who streams already comes first.
pub const SHED_NEWCOMERS_PERCENT: usize = 75;

/// It must have been better for this long before one step is taken back: twice the usual interval,
/// so that the last step has shown what it does.
pub const SHED_RELIEF_MS: i64 = 10_000;

/// How often the inbox is looked at.
pub const SHED_LOOK_INTERVAL: Duration = Duration::from_millis(250);

// === pipeline ===

/// Batches of facts waiting to be applied.
pub const FACT_QUEUE: usize = 256;

/// Batches of verdicts waiting to be told; beyond it judging waits for the disk.
pub const TELL_QUEUE: usize = 1_024;

/// Open episodes whose telling is remembered; beyond it some are told twice to an agent, which
/// shows an episode once.
pub const TOLD_MAX: usize = 100_000;

/// Appended history is put on the disk this often: a window's rows share a write, a restart
/// replays no more than this beyond what it must.
pub const FLUSH_INTERVAL: Duration = Duration::from_secs(10);

/// Open episodes read at the start, the oldest first: one for each server. What is left over is
/// read, and closed if nothing bears it out, at the next start.
pub const OPEN_EPISODES_MAX: u32 = 100_000;

/// Time passes for the state in steps of this.
pub const TICK_MS: i64 = 1_000;

/// Servers are looked at for their end this often: a warning comes at most so much late.
pub const LOOK_MS: i64 = 5_000;

/// A hold keeps nobody's server for longer, whatever is set.
pub const HOLD_MS_MAX: i64 = 31 * 24 * 60 * 60 * 1000;

/// Changes of holds that one user may ask for in an hour: each is a row on the disk.
pub const HOLD_CHANGES_PER_HOUR_MAX: u32 = 60;

/// The body that asks for a hold names one time.
pub const HOLD_BODY_BYTES_MAX: usize = 1_024;

/// Whoever asks for a hold is answered when it holds, within this time.
pub const HOLD_WITHIN: Duration = Duration::from_secs(5);

/// After a start that found rows, silence is not judged for this long: it was we who were away,
/// and agents come back within their backoff.
pub const START_GRACE_MS: i64 = 60_000;

/// Changes a reader may lag behind before it must read the state afresh.
pub const CHANGES_QUEUE: usize = 1_024;

/// The hub's list of servers is asked for this often.
pub const HUB_LIST_INTERVAL: Duration = Duration::from_secs(60);

/// And this soon after a stream began: its server is then ready in the hub's eyes too.
pub const HUB_LIST_SOON: Duration = Duration::from_secs(3);

/// The hub's list of everybody is asked for this often: a deletion counts after two.
pub const HUB_PEOPLE_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// And never more often.
pub const HUB_PEOPLE_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// And again after this, when the hub did not tell.
pub const HUB_PEOPLE_AGAIN: Duration = Duration::from_secs(5 * 60);

/// And this soon after a start: agents that come back go first.
pub const HUB_PEOPLE_SOON: Duration = Duration::from_secs(60);

/// Names whose time is over are looked for this often.
pub const NAMES_LOOK_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// How long the stages may take to stop, together.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(8);

// === how long those sent away stay away, about ===

/// The collector restarts: soon, but not all at once.
pub const BYE_SHUTDOWN: Duration = Duration::from_secs(4);

/// There is no room.
pub const BYE_BUSY: Duration = Duration::from_secs(10);

/// The journal works again.
pub const BYE_TORN: Duration = Duration::from_secs(1);

/// The hub no longer knows the token: its server is about to end.
pub const BYE_UNAUTHENTICATED: Duration = Duration::from_secs(60);

/// The agent speaks wrongly, and will again.
pub const BYE_PROTOCOL: Duration = Duration::from_secs(60);
