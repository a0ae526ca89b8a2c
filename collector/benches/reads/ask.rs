//! The collector's HTTP side, somebody who asks, and what it cost.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use hubmeter_collector::{
    clock::ManualClock,
    history::History,
    inbox::{Inbox, journal::SqliteJournal},
    link::{
        doorman::Doorman,
        session::{Sessions, Settings},
        websocket::Carrier,
    },
    notice::{NoticeConfig, Outbox},
    peer::Peer,
    pipeline::{desk::Desk, starts::Starts},
    registry::Registry,
    report::hub_activity::{Labels, Newest},
    serve::{Authority, Listener, Serve, Told},
    state::State,
    stats::Stats,
    text::Label,
};
use nix::sys::resource::{UsageWho, getrusage};
use parking_lot::RwLock;
use tokio::sync::{broadcast, watch};

/// A collector that serves and nothing else.
pub struct Site {
    socket: PathBuf,
    /// Its threads end with it.
    _runtime: tokio::runtime::Runtime,
    _stop: watch::Sender<bool>,
}

/// Root, on one connection.
pub struct Client {
    stream: UnixStream,
    body: Vec<u8>,
}

/// What a read cost, on average but for the percentiles.
pub struct Cost {
    pub cpu_ms: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub bytes_read: f64,
    pub bytes_answered: f64,
}

/// Nobody was asked who is active.
fn uncounted() -> Newest {
    let nothing = Label::default();
    let labels = Labels {
        cluster: nothing.clone(),
        hub: nothing.clone(),
        chart: nothing,
    };
    Newest::new(labels, None)
}

// === impl Site ===

impl Site {
    pub fn start(history: History, state: State, clock: Arc<ManualClock>, dir: &Path) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let socket = dir.join("http");
        let (stop, shutdown) = watch::channel(false);
        let stats = Stats::new();
        let journal = SqliteJournal::open(dir).expect("a journal");
        let (facts, _) = std::sync::mpsc::sync_channel(1);
        let (inbox, _) = Inbox::new(journal, facts, clock.clone(), stats.clone());
        let settings = Settings {
            streams_max: 1,
            interval: None,
            api_url: String::new(),
        };
        let sessions = Sessions::new(settings, inbox, clock.clone(), stats.clone());
        let listener = {
            let _inside = runtime.enter();
            tokio::net::UnixListener::bind(&socket).expect("a socket")
        };
        let state = Arc::new(RwLock::new(state));
        let registry = Registry::open(dir).expect("small state");
        let desk = Desk::new(&registry, &state, &(clock.clone() as _), &stats);
        let outbox = Outbox::new(
            &NoticeConfig::default(),
            registry.clone(),
            clock.clone(),
            stats.clone(),
        );
        let told = Told {
            registry,
            outbox: Arc::new(outbox.expect("an outbox")),
        };
        let changes = broadcast::channel(64).0;
        let (teller, _) = std::sync::mpsc::sync_channel(1);
        runtime.spawn(hubmeter_collector::serve::run(Serve {
            listener: Listener::Unix(listener),
            metrics_listener: None,
            prefix: "/".to_owned(),
            authority: Authority::Local(Arc::new(|_| Some(Peer { uid: 0 }))),
            state,
            desk,
            told,
            starts: Starts::new(teller, changes.clone(), clock.clone()),
            changes,
            history,
            activity: uncounted(),
            agents: Carrier::new(Doorman::Local, sessions),
            stats,
            clock,
            per_user: hubmeter_collector::serve::PerUser::default(),
            shutdown,
        }));
        Self {
            socket,
            _runtime: runtime,
            _stop: stop,
        }
    }

    pub fn client(&self) -> Client {
        let stream = UnixStream::connect(&self.socket).expect("a connection");
        Client {
            stream,
            body: Vec::new(),
        }
    }
}

// === impl Client ===

impl Client {
    /// Returns the body's place in memory and the bytes of the answer.
    pub fn get(&mut self, path: &str) -> (&[u8], usize) {
        write!(
            self.stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        .expect("asked");
        self.body.clear();
        let mut room = vec![0; 256 * 1024];
        let (mut head, mut length) = (0, None::<usize>);
        while length.is_none_or(|length| self.body.len() < head + length) {
            let read = self.stream.read(&mut room).expect("an answer");
            assert!(read > 0, "the answer to {path} ends early");
            self.body.extend_from_slice(&room[..read]);
            let end = self.body.windows(4).position(|at| at == b"\r\n\r\n");
            if let (None, Some(end)) = (length, end) {
                let text = String::from_utf8_lossy(&self.body[..end]).to_lowercase();
                assert!(text.starts_with("http/1.1 200"), "{path}: {text}");
                let (_, after) = text.split_once("content-length: ").expect("a length");
                let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
                length = Some(digits.parse().expect("a number"));
                head = end + 4;
            }
        }
        (&self.body[head..], self.body.len())
    }

    /// Reads a list to its last page.
    pub fn pages(&mut self, path: &str) -> usize {
        let (mut all, mut cursor) = (0, String::new());
        loop {
            let (body, bytes) = self.get(&format!("{path}{cursor}"));
            all += bytes;
            let end = String::from_utf8_lossy(&body[body.len().saturating_sub(4096)..]);
            let (_, next) = end.rsplit_once("\"next\":").expect("a page");
            match next.trim_end_matches('}').trim_matches('"') {
                "null" => return all,
                next => cursor = format!("&cursor={next}"),
            }
        }
    }
}

// === impl Cost ===

impl Cost {
    /// Of `reads` calls of `read`, which returns the bytes of the answer.
    pub fn of(reads: usize, mut read: impl FnMut(usize) -> usize) -> Self {
        let mut walls = Vec::with_capacity(reads);
        let (cpu, bytes) = (cpu(), bytes_read());
        let mut answered = 0;
        for at in 0..reads {
            let begun = Instant::now();
            answered += read(at);
            walls.push(begun.elapsed());
        }
        let (cpu, bytes) = (super::ask::cpu() - cpu, bytes_read() - bytes);
        walls.sort_unstable();
        let count = reads as f64;
        let ms = |wall: Duration| wall.as_secs_f64() * 1000.0;
        Self {
            cpu_ms: ms(cpu) / count,
            p50_ms: ms(walls[reads / 2]),
            p99_ms: ms(walls[(reads * 99 / 100).min(reads - 1)]),
            bytes_read: bytes as f64 / count,
            bytes_answered: answered as f64 / count,
        }
    }
}

/// Processor time of every thread but this one.
fn cpu() -> Duration {
    let of = |who| {
        let usage = getrusage(who).expect("figures of our own");
        let micros = |time: nix::sys::time::TimeVal| {
            Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000)
        };
        micros(usage.user_time()) + micros(usage.system_time())
    };
    of(UsageWho::RUSAGE_SELF).saturating_sub(of(UsageWho::RUSAGE_THREAD))
}

/// Bytes that came by read calls: files, not sockets.
fn bytes_read() -> u64 {
    let text = fs::read_to_string("/proc/self/io").expect("figures of our own");
    let line = text.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.and_then(|bytes| bytes.parse().ok()).expect("a number")
}
