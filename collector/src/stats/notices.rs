//! What became of notices, by outlet.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{Stats, family};

words! {
    /// How notices reach people.
    Outlet {
        /// The person at the server, in JupyterLab.
        Lab => "lab",
        /// Mail to admins.
        Mail => "mail",
        /// Mail to users about verdicts.
        UserMail => "user_mail",
        /// Mail to users whose server is about to be stopped.
        WarningMail => "warning_mail",
        /// Mail to users that an admin wrote.
        MessageMail => "message_mail",
        /// Our own JSON.
        Webhook => "webhook",
        /// Slack.
        Slack => "slack",
        /// Mattermost.
        Mattermost => "mattermost",
        /// Alertmanager.
        Alertmanager => "alertmanager",
    }
}

words! {
    /// What became of a notice, or of an attempt.
    Outcome {
        /// The other side took it.
        Sent => "sent",
        /// An attempt failed; there are more.
        Failed => "failed",
        /// Nobody took it for a day.
        GivenUp => "given_up",
        /// Its channel or user had enough for the day.
        Capped => "capped",
        /// Somebody muted its rule.
        Muted => "muted",
        /// Its user has no address.
        NoAddress => "no_address",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Told {
    outlet: Outlet,
    outcome: Outcome,
}

/// The counters.
#[derive(Debug)]
pub(super) struct Notices {
    told: Family<Told, Counter>,
    waiting: Gauge,
}

// === impl Notices ===

impl Notices {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let told: Family<Told, Counter> = family(
            registry,
            "notices",
            "Notices by outlet and what became of them",
        );
        for &outlet in Outlet::ALL {
            for &outcome in Outcome::ALL {
                drop(told.get_or_create(&Told { outlet, outcome }));
            }
        }
        let waiting = Gauge::default();
        let help = "Notices not delivered yet";
        registry.register("notices_waiting", help, waiting.clone());
        Self { told, waiting }
    }
}

// === impl Stats ===

impl Stats {
    /// One more notice, or attempt, that became `outcome`.
    pub fn notice(&self, outlet: Outlet, outcome: Outcome) {
        let told = &self.0.notices.told;
        told.get_or_create(&Told { outlet, outcome }).inc();
    }

    /// How many notices, or attempts, of all outlets became `outcome`.
    #[must_use]
    pub fn notices(&self, outcome: Outcome) -> u64 {
        let of = |&outlet: &Outlet| {
            let told = &self.0.notices.told;
            told.get_or_create(&Told { outlet, outcome }).get()
        };
        Outlet::ALL.iter().map(of).sum()
    }

    /// How many notices are not delivered yet.
    pub fn notices_waiting(&self, n: u64) {
        let n = i64::try_from(n).unwrap_or(i64::MAX);
        self.0.notices.waiting.set(n);
    }
}
