//! `hub-activity.csv`: how many people were active on this hub within a day, a week and a month, by
//! the hub's own word, in the columns of 2i2c's table of that name.

use std::{io, sync::Arc};

use parking_lot::RwLock;

use super::ReportError;
use crate::{
    registry::{Registry, RegistryError},
    text::{self, Label},
    usage::{date_of, day_of_ms},
};

/// Older counts tell nothing of the last day.
pub const AGE_MS_MAX: i64 = 24 * 60 * 60 * 1000;

/// What this hub is called in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// The cluster it is on.
    pub cluster: Label,
    /// Its public domain.
    pub hub: Label,
    /// The Helm chart it is installed by.
    pub chart: Label,
}

/// Distinct users by the hub's `last_activity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// When the hub was asked.
    pub counted_ms: i64,
    /// Active in the 24 hours before.
    pub daily: u32,
    /// Active in the 7 days before.
    pub weekly: u32,
    /// Active in the 30 days before.
    pub monthly: u32,
}

/// The newest count, for whoever asks; clones share it.
#[derive(Clone, Debug)]
pub struct Newest {
    /// What this hub is called.
    pub labels: Labels,
    counted: Arc<RwLock<Option<Activity>>>,
}

/// Which table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// A row per time scale.
    #[default]
    Scales,
    /// One row: distinct people of a month and a cluster, each once.
    Unique,
}

// === impl Form ===

impl Form {
    /// Both, as they are named.
    pub const ALL: [Self; 2] = [Self::Scales, Self::Unique];

    /// Its name in questions.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scales => "scales",
            Self::Unique => "unique",
        }
    }
}

// === impl Newest ===

impl Newest {
    /// With what was counted before the start, if anything.
    #[must_use]
    pub fn new(labels: Labels, counted: Option<Activity>) -> Self {
        let counted = Arc::new(RwLock::new(counted));
        Self { labels, counted }
    }

    /// With what `registry` holds.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn kept(labels: Labels, registry: &Registry) -> Result<Self, RegistryError> {
        let counted = registry.activity()?.map(|(activity, _)| activity);
        Ok(Self::new(labels, counted))
    }

    /// The newest count.
    #[must_use]
    pub fn get(&self) -> Option<Activity> {
        *self.counted.read()
    }

    /// Replaces it.
    pub fn put(&self, activity: Activity) {
        *self.counted.write() = Some(activity);
    }
}

// === impl Activity ===

impl Activity {
    /// Counts `last_activity` of every user, unknown where they were never active. As the hub
    /// counts: at the bound and later is active.
    pub fn count(now_ms: i64, last_ms: impl Iterator<Item = Option<i64>>) -> Self {
        let mut activity = Self {
            counted_ms: now_ms,
            daily: 0,
            weekly: 0,
            monthly: 0,
        };
        for last_ms in last_ms.flatten() {
            for (days, count) in [
                (1, &mut activity.daily),
                (7, &mut activity.weekly),
                (30, &mut activity.monthly),
            ] {
                let bound_ms = now_ms.saturating_sub(days * AGE_MS_MAX);
                *count += u32::from(last_ms >= bound_ms);
            }
        }
        activity
    }

    /// Writes the table.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(
        &self,
        labels: &Labels,
        form: Form,
        out: impl io::Write,
    ) -> Result<(), ReportError> {
        let mut out = csv::Writer::from_writer(out);
        let cluster = text::csv(labels.cluster.as_str());
        match form {
            Form::Scales => {
                let hub = text::csv(labels.hub.as_str());
                let chart = text::csv(labels.chart.as_str());
                // The first column is pandas' index, which has no name.
                out.write_record(["", "cluster", "hub", "scale", "users", "chart"])?;
                let scales = [
                    ("Daily", self.daily),
                    ("Weekly", self.weekly),
                    ("Monthly", self.monthly),
                ];
                for (at, (scale, users)) in scales.into_iter().enumerate() {
                    let (at, users) = (at.to_string(), users.to_string());
                    out.write_record([&at, &cluster, &hub, scale, &users, &chart])?;
                }
            }
            Form::Unique => {
                let date = date_of(day_of_ms(self.counted_ms)).to_string();
                out.write_record(["date", "cluster", "unique_users"])?;
                out.write_record([&date, &cluster, &self.monthly.to_string()])?;
            }
        }
        out.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        let label = |text| Label::clean(text, 255);
        Labels {
            cluster: label("=cmd()"),
            hub: label("hub.example.org"),
            chart: label("basehub"),
        }
    }

    fn written(activity: &Activity, form: Form) -> String {
        let mut out = Vec::new();
        activity.write(&labels(), form, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_table_has_2i2cs_columns_and_order_and_no_formula() {
        let activity = Activity {
            counted_ms: 1_574_027_796_500,
            daily: 0,
            weekly: 12,
            monthly: 345,
        };
        assert_eq!(
            written(&activity, Form::Scales),
            ",cluster,hub,scale,users,chart\n\
             0,'=cmd(),hub.example.org,Daily,0,basehub\n\
             1,'=cmd(),hub.example.org,Weekly,12,basehub\n\
             2,'=cmd(),hub.example.org,Monthly,345,basehub\n"
        );
        assert_eq!(
            written(&activity, Form::Unique),
            "date,cluster,unique_users\n2019-11-17,'=cmd(),345\n"
        );
    }

    #[test]
    fn whoever_was_active_at_the_bound_or_later_counts_and_whoever_never_was_does_not() {
        let now_ms = 100 * AGE_MS_MAX;
        let ago = |days: i64, ms: i64| Some(now_ms - days * AGE_MS_MAX - ms);
        let last = [
            None,
            ago(0, -5_000), // the hub's clock is ahead
            ago(1, 0),
            ago(1, 1),
            ago(7, 0),
            ago(7, 1),
            ago(30, 0),
            ago(30, 1),
        ];
        let activity = Activity::count(now_ms, last.into_iter());
        assert_eq!(
            (activity.daily, activity.weekly, activity.monthly),
            (2, 4, 6)
        );
    }
}
