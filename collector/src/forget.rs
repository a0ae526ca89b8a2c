//! Forgetting a user, and following who becomes whom: in every store, in one order.
//!
//! What is to be done is written into `state.db` first and taken out of it last, with the names;
//! in between come the inbox, the state, history and `state.db` itself, each by the thread that
//! owns it, so that nothing of before can arrive after. A crash in between is made good at the
//! next start, by [`resume`], and by the next call. A collector that does not run is done without:
//! [`offline`].

use std::{path::Path, sync::Arc, time::Duration};

use tokio::sync::Mutex;

use crate::{
    clock::Clock,
    database::DatabaseError,
    history::{History, HistoryError},
    inbox::{
        Inbox,
        journal::{JournalError, SqliteJournal},
        people::{self, OrderError},
    },
    link::session::Sessions,
    person::{Fate, Fates, PeopleMove},
    registry::{Registry, RegistryError, StateRows},
};

/// Streams of a user who is moved end within this time; one that does not is of a peer that does
/// not read, and what it still says is new.
const STREAMS_END_WITHIN: Duration = Duration::from_secs(3);

/// How often it is looked whether they have.
const STREAMS_LOOK_EVERY: Duration = Duration::from_millis(20);

/// Backups that are named to whoever forgets somebody.
const BACKUPS_TOLD_MAX: u32 = 20;

/// What was kept of a user, or what was done about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Servers with history.
    pub servers: u64,
    /// Chunks of history erased; 0 where it was only counted.
    pub chunks: u64,
    /// Messages in the inbox.
    pub messages: u64,
    /// Rows of `state.db`.
    pub rows: StateRows,
    /// Servers in memory.
    pub live: u64,
    /// Backups that were made of this data directory, and when: nobody erases anything there.
    pub backups: Vec<(String, i64)>,
}

/// Why it is not done.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// Nothing is kept under this name.
    #[error("nothing is kept of a user of this name")]
    Unknown,
    /// `state.db`.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// History.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The inbox's file.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The inbox.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// A file.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A stage failed; its own line of the log says how.
    #[error("a stage failed; it is done again at the next start, or when asked again")]
    Stage,
    /// The program is ending.
    #[error("the collector is stopping")]
    Stopping,
}

/// Moves people within a collector that runs. Clones share everything.
#[derive(Clone)]
pub struct People {
    /// `state.db`.
    pub registry: Registry,
    /// History.
    pub history: History,
    /// Who owns the inbox.
    pub inbox: Inbox,
    /// Who may stream.
    pub sessions: Sessions,
    /// Held by whoever writes history and idle marks.
    pub gate: Arc<Mutex<()>>,
    /// One at a time: moves, and backups.
    pub one: Arc<Mutex<()>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

// === impl Traces ===

impl Traces {
    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.servers + self.messages + self.live == 0 && self.rows == StateRows::default()
    }

    fn rows(&self) -> u64 {
        let rows = self.rows;
        let small = rows.tokens + rows.episodes + rows.notices + rows.idle_marks + rows.promises;
        self.servers + self.chunks + self.messages + small
    }
}

// === impl People ===

impl People {
    /// Of these stages.
    #[must_use]
    pub fn new(
        registry: &Registry,
        history: &History,
        inbox: &Inbox,
        sessions: &Sessions,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        Self {
            registry: registry.clone(),
            history: history.clone(),
            inbox: inbox.clone(),
            sessions: sessions.clone(),
            gate: Arc::default(),
            one: Arc::default(),
            clock: clock.clone(),
        }
    }

    /// What is kept of `user` on the disk.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn traces(&self, user: &str) -> Result<Traces, ForgetError> {
        let fates = Fates::one(user, Fate::Erased);
        let messages = self.inbox.count_people(fates.clone()).await?;
        let (registry, history, user) =
            (self.registry.clone(), self.history.clone(), user.to_owned());
        blocking(move || {
            Ok(Traces {
                servers: history.count_people(&fates)?,
                messages,
                rows: registry.count_of(&user)?,
                backups: registry.backups(BACKUPS_TOLD_MAX)?,
                ..Traces::default()
            })
        })
        .await
    }

    /// Erases every trace of `user`, in memory and on the disk. `live` says how many servers the
    /// caller saw in memory.
    ///
    /// # Errors
    /// Nothing is kept, or something is left: to be asked again.
    pub async fn forget(
        &self,
        user: &str,
        live: u64,
        asked_by: &str,
    ) -> Result<Traces, ForgetError> {
        let one = self.one.clone().lock_owned().await;
        let mut traces = self.traces(user).await?;
        traces.live = live;
        let unfinished = {
            let registry = self.registry.clone();
            blocking(move || Ok(registry.unfinished_fates()?)).await?
        };
        let begun_before = !unfinished.met.is_empty() || unfinished.fates.of(user).is_some();
        let named = {
            let (registry, user) = (self.registry.clone(), user.to_owned());
            blocking(move || Ok(registry.knows(&user)?)).await?
        };
        if traces.is_empty() && !begun_before && !named {
            return Err(ForgetError::Unknown);
        }
        let mut ids = self.meet(&Fates::one(user, Fate::Erased), asked_by).await?;
        ids.extend(unfinished.met);
        traces.chunks = self.tidy(ids, traces.rows()).await?;
        drop(one);
        Ok(traces)
    }

    /// Meets `fates` everywhere, and leaves tidying files up to a task of its own.
    ///
    /// # Errors
    /// They are met in part: what is left is done at the next start.
    pub async fn follow(&self, fates: Fates) -> Result<(), ForgetError> {
        let one = self.one.clone().lock_owned().await;
        let ids = self.meet(&fates, "the hub").await?;
        let this = self.clone();
        tokio::spawn(async move {
            let _one = one;
            if let Err(error) = this.tidy(ids, 0).await {
                tracing::error!(%error, "names are left in files until the next start");
            }
        });
        Ok(())
    }

    /// Writes down what is to be done and does it, but for what files still hold of it.
    async fn meet(&self, fates: &Fates, asked_by: &str) -> Result<Vec<i64>, ForgetError> {
        let (registry, asked_by, now_ms) = (
            self.registry.clone(),
            asked_by.to_owned(),
            self.clock.now_ms(),
        );
        let written = fates.clone();
        let ids = blocking(move || Ok(registry.begin_fates(&written, &asked_by, now_ms)?)).await?;
        self.end_streams(fates).await;
        let gate = self.gate.lock().await;
        let people = PeopleMove::new(fates.clone());
        self.inbox.move_people(people.clone()).await?;
        let met = people.met().await;
        drop(gate);
        if met {
            Ok(ids)
        } else {
            Err(ForgetError::Stage)
        }
    }

    /// Takes out of the files what no row holds any more; gives how many chunks went.
    async fn tidy(&self, ids: Vec<i64>, rows: u64) -> Result<u64, ForgetError> {
        self.inbox.squeeze().await?;
        let (registry, history) = (self.registry.clone(), self.history.clone());
        let clock = self.clock.clone();
        blocking(move || {
            let chunks = history.erase_doomed()?;
            registry.finish_fates(&ids, rows + chunks, clock.now_ms())?;
            Ok(chunks)
        })
        .await
    }

    async fn end_streams(&self, fates: &Fates) {
        let ended = async {
            while self.sessions.end_users(fates) {
                tokio::time::sleep(STREAMS_LOOK_EVERY).await;
            }
        };
        let _ = tokio::time::timeout(STREAMS_END_WITHIN, ended).await;
    }
}

async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, ForgetError> + Send + 'static,
) -> Result<T, ForgetError> {
    tokio::task::spawn_blocking(run)
        .await
        .unwrap_or(Err(ForgetError::Stopping))
}

// === without a collector ===

/// The stores of a data directory that no collector uses.
pub struct Stores {
    /// `state.db`.
    pub registry: Registry,
    /// History.
    pub history: History,
    /// The inbox.
    pub journal: SqliteJournal,
}

impl Stores {
    /// What is kept of `user`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn traces(&mut self, user: &str) -> Result<Traces, ForgetError> {
        let fates = Fates::one(user, Fate::Erased);
        Ok(Traces {
            servers: self.history.count_people(&fates)?,
            messages: people::count(&mut self.journal, &fates)?,
            rows: self.registry.count_of(user)?,
            backups: self.registry.backups(BACKUPS_TOLD_MAX)?,
            ..Traces::default()
        })
    }

    /// Erases every trace of `user`, whom `asked_by` asked to forget.
    ///
    /// # Errors
    /// Nothing is kept, or something is left: to be asked again.
    pub fn forget(
        &mut self,
        user: &str,
        asked_by: &str,
        clock: &dyn Clock,
    ) -> Result<Traces, ForgetError> {
        let mut traces = self.traces(user)?;
        let begun_before = !self.registry.unfinished_fates()?.ids.is_empty();
        if traces.is_empty() && !begun_before && !self.registry.knows(user)? {
            return Err(ForgetError::Unknown);
        }
        let fates = Fates::one(user, Fate::Erased);
        self.registry
            .begin_fates(&fates, asked_by, clock.now_ms())?;
        traces.chunks = self.resume(traces.rows(), clock)?;
        Ok(traces)
    }

    /// Does what is written down and not done; gives how many chunks went.
    ///
    /// # Errors
    /// Something is left.
    pub fn resume(&mut self, rows: u64, clock: &dyn Clock) -> Result<u64, ForgetError> {
        use crate::inbox::journal::Journal as _;
        let unfinished = self.registry.unfinished_fates()?;
        if unfinished.ids.is_empty() {
            return Ok(0);
        }
        if !unfinished.fates.is_empty() {
            people::rewrite(&mut self.journal, &unfinished.fates)?;
            self.history.move_people(&unfinished.fates)?;
            self.registry.move_people(&unfinished.fates)?;
        }
        self.journal.squeeze()?;
        let chunks = self.history.erase_doomed()?;
        let (ids, now_ms) = (&unfinished.ids, clock.now_ms());
        self.registry.finish_fates(ids, rows + chunks, now_ms)?;
        Ok(chunks)
    }
}

/// Does what a crash left half done in `data_dir`; gives its `state.db`, open.
///
/// # Errors
/// It is not done.
pub fn finish(data_dir: &Path, clock: &Arc<dyn Clock>) -> Result<Registry, ForgetError> {
    let registry = Registry::open(data_dir)?;
    if registry.unfinished_fates()?.ids.is_empty() {
        return Ok(registry);
    }
    drop(registry);
    let mut stores = offline(data_dir, clock.clone())?;
    stores.resume(0, &**clock)?;
    tracing::info!("users who were to be forgotten or renamed at the last end are so now");
    Ok(stores.registry)
}

/// The stores in `data_dir`, to be worked on by nobody else meanwhile.
///
/// # Errors
/// One of them cannot be opened.
pub fn offline(data_dir: &Path, clock: Arc<dyn Clock>) -> Result<Stores, ForgetError> {
    use crate::history::{HistoryConfig, HistoryMode};
    let mode = HistoryMode::Files {
        data_dir: data_dir.to_owned(),
    };
    Ok(Stores {
        registry: Registry::open(data_dir)?,
        history: History::open(&HistoryConfig::new(mode), clock)?,
        journal: SqliteJournal::open(data_dir)?,
    })
}
