//! `/metrics`: the collector's own figures, and those of single servers where the hub asks for them.
//! But for those ([`per_user`]) no label holds anything a user wrote.

mod per_user;

use std::sync::Arc;

use axum::{extract::State, http::header, response::IntoResponse};

pub use self::per_user::PerUser;
use self::per_user::Series;
use super::Site;
use crate::{
    state::{Phase, State as Truth},
    stats::{AgentState, Count, Limit},
    verdict::{Rule, Verdict},
};

/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The collector's own figures for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    responses((status = 200, body = String, content_type = "text/plain; version=0.0.4")),
)]
pub(crate) async fn metrics(State(site): State<Arc<Site>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, TEXT)], exposition(&site))
}

fn exposition(site: &Site) -> String {
    count_history(site);
    let starts = site.starts.verdicts();
    let series = {
        let truth = site.state.read();
        count(site, &truth, &starts);
        Series::copy(&truth, site.per_user)
    };
    series.account(&site.stats);
    let mut text = site.stats.prometheus_text();
    series.write(&mut text);
    text
}

/// Sets what is a look at history.
fn count_history(site: &Site) {
    let history = site.history.stats();
    for (what, total) in [
        (Count::HistoryRowsDropped, history.rows_dropped),
        (Count::HistoryChunksCorrupt, history.chunks_corrupt),
        (Count::HistoryFilesShed, history.files_shed),
    ] {
        site.stats.reached(what, total);
    }
}

/// Sets what is a look at the state.
fn count(site: &Site, truth: &Truth, starts: &[Verdict]) {
    let mut agents = [0; 3];
    let mut verdicts = [0; Rule::ALL.len()];
    let open = |verdict: &&Verdict| verdict.cleared_ms.is_none();
    verdicts[Rule::StartFailures as usize] += starts.iter().filter(open).count();
    for server in truth.servers.values() {
        agents[server.phase as usize] += 1;
        for verdict in &server.verdicts {
            verdicts[verdict.rule as usize] += 1;
        }
    }
    for (phase, state) in [
        (Phase::Live, AgentState::Live),
        (Phase::Silent, AgentState::Silent),
        (Phase::Gone, AgentState::Gone),
    ] {
        site.stats.agents(state, agents[phase as usize]);
    }
    for rule in Rule::ALL {
        site.stats.verdicts_open(rule, verdicts[rule as usize]);
    }
    site.stats
        .limit_set(Limit::Servers, truth.policy.servers_max);
    site.stats.limit_now(Limit::Servers, truth.servers.len());
}
