//! How many starts of servers worked and failed, by the hub's own metrics.

use reqwest::Method;

use super::{HubError, client::HubClient};

/// Bytes of the hub's metrics: a large hub has some hundred kilobytes.
const METRICS_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The histogram's count, by how starts ended.
const COUNT: &str = "jupyterhub_server_spawn_duration_seconds_count{";

/// What the hub counted since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spawns {
    /// Starts that worked.
    pub succeeded: u64,
    /// Starts that failed; refusals (too many at once, one under way already) are none.
    pub failed: u64,
}

// === impl HubClient ===

impl HubClient {
    /// What the hub counted; `None` when our token may not read its metrics (`read:metrics`).
    ///
    /// # Errors
    /// The hub did not answer.
    pub async fn spawns(&self) -> Result<Option<Spawns>, HubError> {
        const WHAT: &str = "GET /hub/metrics";
        let request = self.with_our_token(self.beside_api(Method::GET, "/metrics"))?;
        let text = self.ask_text(WHAT, request, METRICS_BYTES_MAX).await?;
        Ok(text.map(|text| spawns_of(&text)))
    }
}

/// Until version 5 a `failure` is a start that failed; from 6 on that is an `error`, and a
/// `failure` was never begun.
fn spawns_of(text: &str) -> Spawns {
    let of = |status: &str| {
        let status = format!("status=\"{status}\"");
        let mut found = None;
        for line in text.lines() {
            let Some(rest) = line.strip_prefix(COUNT) else {
                continue;
            };
            let Some((labels, value)) = rest.rsplit_once("} ") else {
                continue;
            };
            if !labels.split(',').any(|label| label == status) {
                continue;
            }
            let value = value.trim().parse::<f64>().unwrap_or(0.0);
            // Counters are whole; what is none of them counts as nothing.
            let value = if value.is_finite() && value > 0.0 {
                value as u64
            } else {
                0
            };
            found = Some(found.unwrap_or(0_u64).saturating_add(value));
        }
        found
    };
    Spawns {
        succeeded: of("success").unwrap_or(0),
        failed: of("error").or_else(|| of("failure")).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_from_refusals_on_both_versions() {
        let five = "\
# TYPE jupyterhub_server_spawn_duration_seconds histogram
jupyterhub_server_spawn_duration_seconds_bucket{le=\"0.5\",status=\"failure\"} 9.0
jupyterhub_server_spawn_duration_seconds_count{status=\"success\"} 7.0
jupyterhub_server_spawn_duration_seconds_count{status=\"failure\"} 2.0
jupyterhub_server_spawn_duration_seconds_count{status=\"throttled\"} 5.0
";
        let counted = Spawns {
            succeeded: 7,
            failed: 2,
        };
        assert_eq!(spawns_of(five), counted);
        let six = "\
jupyterhub_server_spawn_duration_seconds_count{reason=\"none\",status=\"success\"} 7.0
jupyterhub_server_spawn_duration_seconds_count{reason=\"throttled\",status=\"failure\"} 5.0
jupyterhub_server_spawn_duration_seconds_count{reason=\"none\",status=\"failure\"} 0.0
jupyterhub_server_spawn_duration_seconds_count{reason=\"none\",status=\"error\"} 1.0
jupyterhub_server_spawn_duration_seconds_count{reason=\"timeout\",status=\"error\"} 1.0
";
        assert_eq!(spawns_of(six), counted);
        assert_eq!(spawns_of("nonsense} \n{\nNaN"), Spawns::default());
    }
}
