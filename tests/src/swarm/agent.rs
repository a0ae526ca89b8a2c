//! One simulated agent: the agent's own spool, encoder and link under samples that are made up.

use std::{sync::Arc, time::Duration};

use hubmeter_agent::{
    board::{Board, LinkState, LinkStatus},
    clock::{Clock, SystemClock},
    link::{Identity, Link, Outbox, carrier::LOOK_AGAIN_FIRST, credential::Credential},
    settings::CollectorUrl,
    stop::Stopper,
};
use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinHandle};

use super::{
    hub,
    load::{Load, Moment},
};

/// A simulated agent.
pub struct Agent {
    /// Its place in the fleet.
    pub index: usize,
    outbox: Arc<Outbox>,
    board: Arc<Board>,
    identity: Identity,
    clock: Arc<dyn Clock>,
    began_mono_ms: u64,
    last_mono_ms: Mutex<Option<u64>>,
    line: Mutex<Option<Line>>,
}

/// A link at work.
struct Line {
    stopper: Stopper,
    task: JoinHandle<()>,
}

// === impl Agent ===

impl Agent {
    /// One that has not connected yet. Its instance id comes from `random`.
    #[must_use]
    pub fn new(index: usize, interval: Duration, random: &mut fastrand::Rng) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let board = Board::new(LinkStatus {
            state: LinkState::Off,
            collector: None,
            carrier: None,
            passed_over: Vec::new(),
            api_url: None,
        });
        Self {
            index,
            outbox: Arc::default(),
            board: Arc::new(board),
            identity: Identity {
                instance_id: random.u128(..).to_be_bytes(),
                host: format!("node-{}", index % 64),
                server_name: String::new(),
                interval,
            },
            began_mono_ms: clock.mono_ms(),
            last_mono_ms: Mutex::new(None),
            clock,
            line: Mutex::new(None),
        }
    }

    /// Starts its link to `url`; one that is there already is cut off, as when an agent's machine
    /// loses its network: what has no receipt stays.
    pub fn connect(&self, url: &CollectorUrl) {
        let link = Link {
            urls: url.clone().into(),
            look_again_first: LOOK_AGAIN_FIRST,
            ca_file: None,
            credential: Credential::new(None, Some(hub::token(self.index))),
            identity: self.identity.clone(),
            outbox: Arc::clone(&self.outbox),
            board: Arc::clone(&self.board),
            pace: watch::Sender::new(None),
            clock: Arc::clone(&self.clock),
        };
        let stopper = Stopper::default();
        let task = tokio::spawn(link.run(stopper.heard_by()));
        if let Some(before) = self.line.lock().replace(Line { stopper, task }) {
            before.task.abort();
        }
    }

    /// Cuts its link off.
    pub fn cut(&self) {
        if let Some(line) = self.line.lock().take() {
            line.task.abort();
        }
        self.board.set_link_state(LinkState::Off);
    }

    /// Ends its link as a server's end does: last receipts, then a goodbye.
    pub async fn stop(&self) {
        let line = self.line.lock().take();
        if let Some(Line { stopper, task }) = line {
            stopper.stop();
            let _ = task.await;
        }
    }

    /// Takes one sample as `load` has it; gives the report's number.
    pub fn sample(&self, load: &Load) -> u64 {
        let seq = self.outbox.waiting().end;
        let mono_ms = self.clock.mono_ms();
        let before_ms = self.last_mono_ms.lock().replace(mono_ms);
        let moment = Moment {
            seq,
            mono_ms,
            wall_ms: self.clock.wall_ms(),
            age_ms: mono_ms.saturating_sub(self.began_mono_ms),
            interval_ms: before_ms.map(|before_ms| mono_ms.saturating_sub(before_ms)),
        };
        // Each goes at once, as while somebody looks: the heaviest that a collector is given.
        self.outbox.push(&load.sample(self.index, moment), true);
        seq
    }

    /// Whether reports go out and receipts come in.
    #[must_use]
    pub fn is_streaming(&self) -> bool {
        self.board.link().state == LinkState::Streaming
    }

    /// Reports taken so far.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.outbox.waiting().end - 1
    }

    /// Every report up to here has its receipt.
    #[must_use]
    pub fn through_seq(&self) -> u64 {
        self.outbox.waiting().start - 1
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.cut();
    }
}
