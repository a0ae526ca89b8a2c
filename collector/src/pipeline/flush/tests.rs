use std::sync::Arc;

use parking_lot::RwLock;

use super::*;
use crate::state::{
    Policy, State,
    tests::{MB, START_MS, ada, disconnected, report, sample},
};

#[test]
fn idle_marks_follow_the_state_and_survive_in_the_registry() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    let state: SharedState = Arc::new(RwLock::new(State::new(Policy::default())));
    let mut marks = IdleMarks::new(state.clone(), registry.clone(), &[]);
    state
        .write()
        .apply(&report(1, 1, vec![sample(0, 500 * MB)]));
    marks.write().unwrap();
    assert_eq!(registry.idle_marks().unwrap(), [(ada(), START_MS)]);
    state.write().apply(&disconnected(1, 5_000, true));
    marks.write().unwrap();
    assert_eq!(registry.idle_marks().unwrap(), []);
}

#[test]
fn while_the_journal_is_replayed_no_mark_is_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::open(dir.path()).unwrap();
    registry.mark_idle(&[(ada(), Some(START_MS))]).unwrap();
    let written = registry.idle_marks().unwrap();
    let mut state = State::new(Policy::default());
    state.recall(Vec::new(), written.clone());
    let state: SharedState = Arc::new(RwLock::new(state));
    let mut marks = IdleMarks::new(state.clone(), registry.clone(), &written);
    marks.write().unwrap();
    assert_eq!(registry.idle_marks().unwrap(), written);
    let at_ms = START_MS + 9_000;
    state.write().apply(&crate::fact::Fact::Started { at_ms });
    marks.write().unwrap();
    assert_eq!(registry.idle_marks().unwrap(), [], "nobody is there");
}
