//! The test's hand on every step of reading the machine: the k-th one fails, or finds that
//! somebody went.

use std::{cell::RefCell, io, path::Path};

/// What happens at one step.
type Deed = Box<dyn FnMut(&Path) -> io::Result<()>>;

struct Plan {
    steps_left: u64,
    deed: Deed,
}

thread_local! {
    static PLAN: RefCell<Option<Plan>> = const { RefCell::new(None) };
    static STEPS: RefCell<u64> = const { RefCell::new(0) };
}

/// Does `deed` at the k-th step from now, counted from 0, on this thread.
pub(crate) fn at(k: u64, deed: impl FnMut(&Path) -> io::Result<()> + 'static) {
    let deed = Box::new(deed);
    PLAN.set(Some(Plan {
        steps_left: k,
        deed,
    }));
}

/// Fails every step whose path `fails` names, until [`clear`].
pub(crate) fn always(deed: impl FnMut(&Path) -> io::Result<()> + 'static) {
    at(u64::MAX, deed);
}

/// Takes the plan away; false when it came to its step.
pub(crate) fn clear() -> bool {
    PLAN.take().is_some()
}

/// Steps so far on this thread.
pub(crate) fn steps() -> u64 {
    STEPS.with_borrow(|steps| *steps)
}

/// Called at every step.
pub(super) fn step(path: &Path) -> io::Result<()> {
    STEPS.with_borrow_mut(|steps| *steps += 1);
    let Some(mut plan) = PLAN.take() else {
        return Ok(());
    };
    if plan.steps_left == 0 {
        return (plan.deed)(path);
    }
    let done = if plan.steps_left == u64::MAX {
        (plan.deed)(path)
    } else {
        plan.steps_left -= 1;
        Ok(())
    };
    PLAN.set(Some(plan));
    done
}
