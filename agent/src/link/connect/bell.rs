//! Whether what was polled asked to be polled again.
//!
//! One task sends, receives and drives the connection, so whatever wakes it would have the
//! connection driven: its own message put into a channel, a word from the beat. Twice in three times
//! that was for nothing, and HTTP/2 and TLS look through all they have each time. So the connection
//! is polled with a waker of its own, which wakes the task too, and remembers that.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
};

/// Heard from what is polled with its waker.
#[derive(Debug, Default)]
pub(super) struct Bell(Option<Hung>);

/// For one task.
#[derive(Debug)]
struct Hung {
    pull: Arc<Pull>,
    waker: Waker,
}

#[derive(Debug)]
struct Pull {
    rang: AtomicBool,
    task: Waker,
}

// === impl Bell ===

impl Bell {
    /// Whether it rang since it was answered last; for a task that it does not know it did.
    pub(super) fn rings(&self, context: &Context<'_>) -> bool {
        self.0.as_ref().is_none_or(|hung| {
            hung.pull.rang.load(Ordering::Acquire) || !hung.pull.task.will_wake(context.waker())
        })
    }

    /// What to poll with now: whoever pulled before is answered by that.
    pub(super) fn answer(&mut self, context: &Context<'_>) -> &Waker {
        let known = self
            .0
            .take()
            .filter(|hung| hung.pull.task.will_wake(context.waker()));
        let hung = known.unwrap_or_else(|| Hung::of(context.waker().clone()));
        hung.pull.rang.store(false, Ordering::Release);
        &self.0.insert(hung).waker
    }
}

// === impl Hung ===

impl Hung {
    fn of(task: Waker) -> Self {
        let pull = Arc::new(Pull {
            rang: AtomicBool::new(false),
            task,
        });
        Self {
            waker: Arc::clone(&pull).into(),
            pull,
        }
    }
}

// === impl Pull ===

impl Wake for Pull {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rang.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rings_once_for_all_who_pull_and_for_every_new_task() {
        let mut bell = Bell::default();
        let task = Arc::new(Pull {
            rang: AtomicBool::new(false),
            task: Waker::noop().clone(),
        });
        let other = Waker::noop();
        let waker = Waker::from(Arc::clone(&task));
        let context = Context::from_waker(&waker);
        assert!(bell.rings(&context));
        let pull = bell.answer(&context).clone();
        assert!(!bell.rings(&context) && !task.rang.load(Ordering::Acquire));
        pull.wake_by_ref();
        pull.wake();
        assert!(bell.rings(&context) && task.rang.load(Ordering::Acquire));
        bell.answer(&context);
        assert!(!bell.rings(&context));
        assert!(bell.rings(&Context::from_waker(other)));
    }
}
