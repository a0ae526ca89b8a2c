//! Follows who becomes whom: by the hub's list of everybody, and when somebody begins to stream.
//!
//! The list tells, every hour, who was deleted and who has another name, and who was active.
//! Somebody whose token nobody knows yet is asked about before a stream of theirs is let in: what a
//! new person reports must never be filed under one of before. They do not wait while the list is
//! read; what it says of them is of before they came, and waits for the next one.

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use crate::{
    forget::{ForgetError, People},
    hub::{HubError, client::HubClient, everybody::Everybody},
    limits,
    link::identify::{Denied, WhoIsWho},
    person::{self, PSEUDONYM, Person},
    pipeline::census::Census,
    stats::{Count, Stats},
};

/// Knows who is who. Clones share everything.
#[derive(Clone)]
pub struct HubPeople(Arc<Inner>);

struct Inner {
    hub: HubClient,
    people: People,
    census: Census,
    stats: Stats,
    interval: Duration,
    /// One change of who is who at a time.
    turn: Mutex<()>,
    /// Who came since the list that is being read was asked for; `None` while none is.
    came: parking_lot::Mutex<Option<HashSet<Arc<str>>>>,
    /// The hub does not tell when it made users: asking about one tells nothing.
    blind: AtomicBool,
}

/// Why who is who is not known.
#[derive(Debug, thiserror::Error)]
enum PeopleError {
    #[error(transparent)]
    Hub(#[from] HubError),
    #[error(transparent)]
    Move(#[from] ForgetError),
    #[error("more came while the list was read than it has room for")]
    Crowd,
}

/// At most one part in this of the hub's time goes into our lists.
const HUB_SHARE: u32 = 10;

// === impl HubPeople ===

impl HubPeople {
    /// Asks `hub` every `interval`.
    #[must_use]
    pub fn new(
        hub: HubClient,
        people: People,
        census: Census,
        stats: Stats,
        interval: Duration,
    ) -> Self {
        Self(Arc::new(Inner {
            hub,
            people,
            census,
            stats,
            interval,
            turn: Mutex::default(),
            came: parking_lot::Mutex::default(),
            blind: AtomicBool::new(false),
        }))
    }

    /// Asks for ever; to be dropped at the end.
    pub async fn run(self) {
        let inner = &self.0;
        let mut pause = inner.interval.min(limits::HUB_PEOPLE_SOON);
        loop {
            sleep(pause).await;
            let asked = Instant::now();
            let next = match self.look().await {
                Ok(()) => inner.interval,
                Err(error) => {
                    inner.stats.count(Count::HubFailures);
                    let error = crate::causes::chain(&error);
                    tracing::warn!(
                        error,
                        "who is who is not known: nobody is taken for deleted"
                    );
                    inner.interval.min(limits::HUB_PEOPLE_AGAIN)
                }
            };
            pause = next.max(asked.elapsed() * HUB_SHARE);
        }
    }

    /// Reads the list, counts it and does what it says.
    async fn look(&self) -> Result<(), PeopleError> {
        let inner = &self.0;
        let at_ms = inner.census.clock.now_ms();
        *inner.came.lock() = Some(HashSet::new());
        let everybody = self.everybody().await;
        let _turn = inner.turn.lock().await;
        let came = inner.came.lock().take().unwrap_or_default();
        let everybody = everybody?;
        inner.census.take(at_ms, &everybody).await;
        if came.len() >= limits::HUB_USERS_MAX {
            return Err(PeopleError::Crowd);
        }
        self.follow(&everybody, &came).await
    }

    async fn everybody(&self) -> Result<Everybody, PeopleError> {
        let inner = &self.0;
        inner.stats.count(Count::HubQuestions);
        let everybody = inner.hub.everybody().await?;
        let tells = |user: &crate::hub::everybody::HubUser| user.created_us.is_some();
        let blind = !everybody.users.iter().any(tells);
        inner.blind.store(blind, Ordering::Relaxed);
        Ok(everybody)
    }

    /// Does what the list says, but for those who `came` since it was asked for.
    async fn follow(
        &self,
        everybody: &Everybody,
        came: &HashSet<Arc<str>>,
    ) -> Result<(), PeopleError> {
        let inner = &self.0;
        let people = inner.people.clone();
        let known = blocking(move || known(&people)).await?;
        let mut plan = person::plan(&known, everybody);
        plan.leave(&known, came);
        let before: HashMap<&str, &Person> =
            known.iter().map(|person| (&*person.user, person)).collect();
        let changed: Vec<Person> = plan
            .known
            .into_iter()
            .filter(|person| before.get(&*person.user) != Some(&person))
            .collect();
        if !plan.fates.is_empty() {
            let users = plan.fates.iter().count();
            inner.people.follow(plan.fates).await?;
            tracing::info!(users, "users were deleted or renamed at the hub");
        }
        let registry = inner.people.registry.clone();
        blocking(move || Ok(registry.put_people(&changed)?)).await?;
        Ok(())
    }

    /// Makes sure that what `user` reports from now on is filed under who that is.
    async fn arrive(&self, user: &str) -> Result<(), PeopleError> {
        let inner = &self.0;
        if inner.blind.load(Ordering::Relaxed) {
            return Ok(());
        }
        let _turn = inner.turn.lock().await;
        if let Some(came) = &mut *inner.came.lock()
            && came.len() < limits::HUB_USERS_MAX
        {
            came.insert(user.into());
        }
        inner.stats.count(Count::HubQuestions);
        let told = inner.hub.user(user).await?;
        let created_us = told.and_then(|told| told.created_us);
        let (registry, name) = (inner.people.registry.clone(), user.to_owned());
        let (stored, formerly) = blocking(move || {
            let stored = registry.person(&name)?;
            let formerly = match (&stored, created_us) {
                (None, Some(created_us)) => registry.made_at(created_us, &name)?,
                _ => false,
            };
            Ok((stored, formerly))
        })
        .await?;
        let is_another = stored.as_ref().is_some_and(|stored| {
            stored.missing == PSEUDONYM || person::is_other(stored.created_us, created_us)
        });
        if is_another || formerly {
            // Nobody is missing from this one: two lists that lack somebody are to be apart.
            let mut everybody = self.everybody().await?;
            everybody.whole = false;
            self.follow(&everybody, &HashSet::new()).await?;
        }
        let now = Person {
            user: user.into(),
            created_us: created_us.or(stored.as_ref().and_then(|stored| stored.created_us)),
            missing: 0,
        };
        if stored.as_ref() != Some(&now) {
            let registry = inner.people.registry.clone();
            blocking(move || Ok(registry.put_people(&[now])?)).await?;
        }
        Ok(())
    }
}

impl WhoIsWho for HubPeople {
    fn arrive<'a>(
        &'a self,
        user: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<(), Denied>> + Send + 'a>> {
        Box::pin(async move {
            self.arrive(user).await.map_err(|error| {
                let error = crate::causes::chain(&error);
                tracing::warn!(error, "somebody new is not let in: who it is is not known");
                Denied::HubUnreachable
            })
        })
    }
}

/// Everybody something is kept of.
fn known(people: &People) -> Result<Vec<Person>, ForgetError> {
    let mut known = people.registry.people()?;
    let named: std::collections::HashSet<Arc<str>> =
        known.iter().map(|person| person.user.clone()).collect();
    let others = people.history.users()?;
    let others = others.into_iter().filter(|user| !named.contains(user));
    known.extend(others.map(|user| Person {
        // A pseudonym whose row went is one still.
        missing: if user.starts_with(person::PSEUDONYM_PREFIX) {
            PSEUDONYM
        } else {
            0
        },
        user,
        created_us: None,
    }));
    Ok(known)
}

async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, ForgetError> + Send + 'static,
) -> Result<T, ForgetError> {
    tokio::task::spawn_blocking(run)
        .await
        .unwrap_or(Err(ForgetError::Stopping))
}
