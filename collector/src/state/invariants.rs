//! What must be true of the state after every fact: pure checks, for debug builds and tests.

use std::collections::BTreeSet;

use hubmeter_proto::limits::WORKLOADS_PER_SAMPLE_MAX;

use super::{
    CLEARED_MAX, Changed, Phase, RETIRED_MAX, Server, State,
    dedupe::{GAPS_MAX, REORDER_MAX},
};
use crate::verdict::{Rule, episode::OPEN_PER_SERVER_MAX};

/// Checks the bounds, and the servers that `changed` names.
pub fn check_changed(state: &State, changed: &Changed) -> Result<(), &'static str> {
    check_bounds(state)?;
    changed
        .servers
        .iter()
        .filter_map(|key| state.servers.get(key))
        .try_for_each(check_server)
}

/// Checks everything.
pub fn check(state: &State) -> Result<(), &'static str> {
    check_bounds(state)?;
    for (key, server) in &state.servers {
        if *key != server.key {
            return Err("a server is filed under its own key");
        }
        check_server(server)?;
    }
    Ok(())
}

fn check_bounds(state: &State) -> Result<(), &'static str> {
    hold(
        state.servers.len() <= state.policy.servers_max,
        "no more servers are known than policy allows",
    )?;
    hold(
        state.cleared.len() <= CLEARED_MAX,
        "cleared verdicts are bounded",
    )
}

fn check_server(server: &Server) -> Result<(), &'static str> {
    hold(
        server.through_seq == server.sequence.through_seq(),
        "the shown high water is the real one",
    )?;
    hold(
        server.sequence.waiting() as u64 <= REORDER_MAX && server.sequence.lost().len() <= GAPS_MAX,
        "waiting reports and remembered losses are bounded",
    )?;
    hold(
        server.retired.len() <= RETIRED_MAX,
        "former instances are bounded",
    )?;
    hold(
        server.measured.workloads().count() <= WORKLOADS_PER_SAMPLE_MAX,
        "measured workloads are those of one sample",
    )?;
    hold(
        server.idle_since_ms.is_none() || server.busy_reason.is_none(),
        "nobody is idle and busy at once",
    )?;
    hold(
        server.phase != Phase::Live || server.last_seen_ms.is_some(),
        "who is live was heard",
    )?;
    hold(
        (server.phase == Phase::Gone) == server.gone_since_ms.is_some(),
        "who is gone is gone since some time, and nobody else is",
    )?;
    hold(
        server.phase == Phase::Live || server.idle_since_ms.is_none(),
        "nobody is idle unmeasured",
    )?;
    check_verdicts(server)
}

fn check_verdicts(server: &Server) -> Result<(), &'static str> {
    hold(
        server.verdicts.len() <= OPEN_PER_SERVER_MAX,
        "open verdicts are bounded",
    )?;
    let mut episodes = BTreeSet::new();
    let mut rules = BTreeSet::new();
    for verdict in &server.verdicts {
        hold(
            verdict.cleared_ms.is_none(),
            "an open verdict is not cleared",
        )?;
        hold(
            verdict.updated_ms >= verdict.since_ms,
            "a verdict changes after it was raised",
        )?;
        hold(episodes.insert(&verdict.episode), "an episode is open once")?;
        let many = matches!(verdict.rule, Rule::Killed | Rule::IdleHog);
        hold(
            many || rules.insert(verdict.rule),
            "a rule but killed and idle_hog is open once",
        )?;
        hold(
            server.phase != Phase::Gone || verdict.rule == Rule::Killed,
            "of a stopped server only its death is open",
        )?;
    }
    Ok(())
}

fn hold(holds: bool, what: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(what) }
}
