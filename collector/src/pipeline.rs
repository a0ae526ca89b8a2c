//! Facts in, in order; state, history, verdicts and notices out.
//!
//! One thread applies facts. It reads the clock only to make time pass for the state (a `Tick`
//! each second), and waits for the disk only when telling or history lag far behind. While the
//! journal is replayed, time passes as the facts' own times say.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::Duration,
};

use parking_lot::RwLock;
use tokio::sync::{broadcast, oneshot};

use crate::{
    clock::{Clock, Steps},
    fact::Fact,
    history::{History, HistoryEntry},
    inbox::{Batch, CaughtUp, Origin},
    limits,
    pressure::Pressure,
    state::{CLEARED_MAX, Changed, State},
    stats::{Limit, Stats, Unready},
    verdict::Verdict,
    warning::News,
};

pub mod census;
pub mod desk;
pub mod flush;
pub mod hub_list;
pub mod people;
pub mod starts;
pub mod tell;

use tell::Tell;

/// What is true now: written by the pipeline's thread alone, read by everybody who answers.
pub type SharedState = Arc<RwLock<State>>;

/// What each fact changed, for those who tell. A reader that lags learns so and reads the state
/// afresh.
pub type Changes = broadcast::Sender<Arc<Changed>>;

/// The pipeline's thread.
pub struct Pipeline {
    /// What is true now.
    pub state: SharedState,
    /// Who wants to know what changes.
    pub changes: Changes,
    /// Where samples go.
    pub history: History,
    /// Where verdicts go.
    pub teller: SyncSender<Tell>,
    /// Cleared verdicts of before the start that the journal may no longer tell of.
    pub remembered: Vec<Verdict>,
    /// Up to when what came was handed on to us.
    pub caught_up: CaughtUp,
    /// What is given up when too much comes in.
    pub pressure: Pressure,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The collector's own figures.
    pub stats: Stats,
}

/// Where the pipeline's thread is in time.
struct Progress {
    /// Time has passed up to here; `None` before the first fact.
    ticked_ms: Option<i64>,
    /// Newest row applied.
    row: u64,
    /// Told once the journal is replayed.
    replayed: Option<oneshot::Sender<()>>,
    found_rows: bool,
    steps: Steps,
    /// When servers were last looked at for their end.
    looked_ms: i64,
    /// Nothing that came before is still to be applied.
    seen_ms: i64,
}

/// A tick may come this late.
const TICK_WAIT_MS_MIN: i64 = 50;

/// Without facts the journal's silence is not walked through second by second for longer.
const REPLAYED_TICKS_MAX: i64 = 900;

// === impl Pipeline ===

impl Pipeline {
    /// Applies facts until nobody sends any. `replayed` is told when the journal is through.
    pub fn run(mut self, facts: &Receiver<Batch>, replayed: oneshot::Sender<()>) {
        self.stats.set_unready(Unready::Replaying, true);
        let mut progress = Progress {
            ticked_ms: None,
            row: 0,
            replayed: Some(replayed),
            found_rows: false,
            steps: Steps::new(&*self.clock),
            looked_ms: i64::MIN,
            seen_ms: i64::MIN,
        };
        loop {
            // Looked at before the queue is seen to be empty: what was handed on is then applied.
            let caught_up_ms = self.caught_up.through_ms();
            match facts.recv_timeout(self.until_tick(&progress)) {
                Ok(batch) => self.take(batch, &mut progress),
                Err(RecvTimeoutError::Timeout) => progress.seen_ms = caught_up_ms,
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if progress.replayed.is_none() {
                self.tick(&mut progress);
            }
        }
    }

    fn take(&mut self, batch: Batch, progress: &mut Progress) {
        self.stats.limit_less(Limit::FactQueue);
        let replayed = match batch.origin {
            Origin::Replayed { .. } => {
                progress.found_rows = true;
                None
            }
            Origin::Live => self.go_live(progress),
        };
        if let Some(row) = batch.row {
            progress.row = u64::try_from(row).unwrap_or(0);
        }
        let mut entries = Vec::new();
        for fact in &batch.facts {
            if let (Fact::Started { at_ms }, true) = (fact, progress.replayed.is_some()) {
                // As it was live: our own absence is nobody's silence.
                progress.ticked_ms = Some(at_ms + limits::START_GRACE_MS);
            } else if progress.replayed.is_some() {
                self.pass_time(at_ms(fact), progress);
            }
            self.apply(fact, &mut entries);
            if let (Fact::Started { at_ms }, None, Origin::Live) = (fact, &replayed, batch.origin) {
                // The clock was set, or nothing ran: nobody's silence either.
                progress.ticked_ms = Some(at_ms + limits::START_GRACE_MS);
            }
        }
        if let Some(seen_ms) = batch.facts.iter().filter_map(came_ms).next_back() {
            progress.seen_ms = seen_ms;
        }
        if batch.origin == Origin::Live {
            self.thin(&mut entries);
        }
        let in_history = Origin::Replayed { in_history: true };
        if batch.origin != in_history {
            self.history.append(progress.row, entries);
        }
        if let Some(replayed) = replayed {
            self.stats.set_unready(Unready::Replaying, false);
            let _ = replayed.send(()); // nobody waits when we are stopping already
        }
    }

    /// Leaves out of history what is given up first. State and verdicts have seen all of it.
    fn thin(&self, entries: &mut Vec<HistoryEntry>) {
        let level = self.pressure.level();
        entries.retain(|entry| {
            let keeps = level.keeps_row(entry.seq);
            if !keeps {
                self.pressure.gave_up();
            }
            keeps
        });
    }

    /// The journal is through; from now on time is the clock's. Gives who is to be told, once what
    /// came with it is applied.
    fn go_live(&mut self, progress: &mut Progress) -> Option<oneshot::Sender<()>> {
        let replayed = progress.replayed.take()?;
        progress.steps = Steps::new(&*self.clock);
        let now_ms = self.clock.now_ms();
        let grace_ms = if progress.found_rows {
            limits::START_GRACE_MS
        } else {
            0
        };
        progress.ticked_ms = Some(now_ms + grace_ms);
        self.recall();
        Some(replayed)
    }

    /// Puts back cleared verdicts that the journal did not tell of.
    fn recall(&mut self) {
        let mut state = self.state.write();
        let open = state.servers.values().flat_map(|server| &server.verdicts);
        let known: HashSet<String> = open
            .chain(&state.cleared)
            .map(|verdict| verdict.episode.clone())
            .collect();
        let mut remembered = std::mem::take(&mut self.remembered);
        remembered.retain(|verdict| !known.contains(&verdict.episode));
        let mut cleared: Vec<Verdict> = remembered
            .into_iter()
            .chain(state.cleared.drain(..))
            .collect();
        cleared.sort_by_key(|verdict| verdict.cleared_ms);
        let surplus = cleared.len().saturating_sub(CLEARED_MAX);
        state.cleared.extend(cleared.into_iter().skip(surplus));
    }

    fn apply(&self, fact: &Fact, entries: &mut Vec<HistoryEntry>) {
        let mut changed = self.state.write().apply(fact);
        entries.extend(changed.taken.drain(..).map(|taken| HistoryEntry {
            key: taken.key,
            instance: taken.instance,
            seq: taken.seq,
            sample: taken.sample,
            momentum_bytes: taken.momentum_bytes,
            cpu_cores: taken.cpu_cores,
        }));
        if let Fact::People { people, .. } = fact {
            if let Err(e) = self.history.move_people(people.fates()) {
                // It is written down what is to be done; the next start does it.
                people.failed();
                tracing::error!(error = %e, "users are not moved in history");
            }
            self.tell(Tell::People(people.clone()));
        }
        if let Fact::Connected { key, .. } = fact {
            // A new agent knows nothing of what is open.
            let open = self
                .state
                .read()
                .servers
                .get(key)
                .map(|s| s.verdicts.clone());
            if let Some(open) = open.filter(|open| !open.is_empty()) {
                self.tell(Tell::Again(open));
            }
        }
        if !changed.verdicts.is_empty() {
            self.tell(Tell::Changed(changed.verdicts.clone()));
        }
        if !changed.warnings.is_empty() {
            self.tell_warnings(std::mem::take(&mut changed.warnings));
        }
        if !changed.servers.is_empty() || !changed.verdicts.is_empty() {
            let _ = self.changes.send(Arc::new(changed)); // nobody listens: fine
        }
    }

    /// What is to be kept comes first: nobody is told twice because the program ended in between.
    fn tell_warnings(&self, news: News) {
        if !news.kept.is_empty() {
            self.tell(Tell::Kept(news.kept));
        }
        if !news.take_back.is_empty() {
            self.tell(Tell::TakeBack(news.take_back));
        }
        if !news.warn.is_empty() {
            self.tell(Tell::Warn(news.warn));
        }
        if !news.warn_again.is_empty() {
            self.tell(Tell::WarnAgain(news.warn_again));
        }
        if !news.kernels.is_empty() {
            self.tell(Tell::EndKernels(news.kernels));
        }
    }

    fn tell(&self, tell: Tell) {
        // The teller outlives us; when it does not, the program is ending anyway.
        let _ = self.teller.send(tell);
    }

    /// Lets time pass by the clock.
    fn tick(&self, progress: &mut Progress) {
        let now_ms = self.clock.now_ms();
        if progress.steps.look(&*self.clock).is_some() {
            // The inbox tells the same; whoever sees it first holds judgement back.
            progress.ticked_ms = Some(now_ms + limits::START_GRACE_MS);
            return;
        }
        let due_ms = progress.ticked_ms.unwrap_or(now_ms) + limits::TICK_MS;
        // A clock that went back far would stop time for as long.
        let went_back = due_ms > now_ms + limits::START_GRACE_MS + limits::TICK_MS;
        // What waits for a slow disk was not silent: time stands still until it is here.
        let now_ms = now_ms.min(progress.seen_ms);
        if now_ms < due_ms && !went_back {
            return;
        }
        progress.ticked_ms = Some(now_ms);
        let mut entries = Vec::new();
        self.apply(&Fact::Tick { at_ms: now_ms }, &mut entries);
        let looked_ago_ms = now_ms.saturating_sub(progress.looked_ms);
        if !(0..limits::LOOK_MS).contains(&looked_ago_ms) {
            progress.looked_ms = now_ms;
            self.apply(&Fact::Look { at_ms: now_ms }, &mut entries);
        }
        if !entries.is_empty() {
            self.history.append(progress.row, entries);
        }
    }

    /// Lets time pass up to a replayed fact.
    fn pass_time(&self, to_ms: i64, progress: &mut Progress) {
        let from_ms = progress
            .ticked_ms
            .unwrap_or(to_ms)
            .max(to_ms - REPLAYED_TICKS_MAX * limits::TICK_MS);
        let mut ticked_ms = from_ms;
        let mut entries = Vec::new();
        while ticked_ms + limits::TICK_MS <= to_ms {
            ticked_ms += limits::TICK_MS;
            self.apply(&Fact::Tick { at_ms: ticked_ms }, &mut entries);
        }
        progress.ticked_ms = Some(ticked_ms.max(progress.ticked_ms.unwrap_or(ticked_ms)));
        if !entries.is_empty() {
            self.history.append(progress.row, entries);
        }
    }

    fn until_tick(&self, progress: &Progress) -> Duration {
        let now_ms = self.clock.now_ms();
        let due_ms = progress.ticked_ms.unwrap_or(now_ms) + limits::TICK_MS;
        // What is due and waits for the disk is not asked for without end.
        let wait_ms = (due_ms - now_ms).clamp(TICK_WAIT_MS_MIN, limits::TICK_MS);
        Duration::from_millis(u64::try_from(wait_ms).unwrap_or(1))
    }
}

/// When it came, for what comes through the inbox.
fn came_ms(fact: &Fact) -> Option<i64> {
    match fact {
        Fact::Hub { .. }
        | Fact::Hold { .. }
        | Fact::Mailed { .. }
        | Fact::Look { .. }
        | Fact::Tick { .. } => None,
        _ => Some(at_ms(fact)),
    }
}

fn at_ms(fact: &Fact) -> i64 {
    match fact {
        Fact::Connected { at_ms, .. }
        | Fact::Gap { at_ms, .. }
        | Fact::Disconnected { at_ms, .. }
        | Fact::Paced { at_ms, .. }
        | Fact::Activity { at_ms, .. }
        | Fact::Shown { at_ms, .. }
        | Fact::Hub { at_ms, .. }
        | Fact::Hold { at_ms, .. }
        | Fact::Mailed { at_ms, .. }
        | Fact::Look { at_ms }
        | Fact::Started { at_ms }
        | Fact::People { at_ms, .. }
        | Fact::Tick { at_ms } => *at_ms,
        Fact::Report { arrived_ms, .. } => *arrived_ms,
    }
}

#[cfg(test)]
mod tests;
