//! `corpus.toml` and its traces, as episodes.

use std::{collections::BTreeMap, fs::File, path::Path};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Where every trace begins: the median of so much is where limits are laid from.
const BEGIN_MS: i64 = 15_000;

/// Whether a trace still rises is judged by its last tenth and the tenth before, which differ by at least
/// this share of its highest.
const STILL_RISING_SHARE: f64 = 0.01;

/// Where else limits may be, as `cross` and `stay` in `corpus.toml` say where they are.
const CROSS_ELSEWHERE: [f64; 7] = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
const STAY_ELSEWHERE: [f64; 8] = [1.05, 1.15, 1.2, 1.3, 1.4, 1.5, 1.8, 2.2];

/// One row of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Since the first row.
    pub at_ms: i64,
    /// Memory that cannot be given back.
    pub used_bytes: u64,
    /// Sum of resident sizes.
    pub rss_bytes: u64,
    /// Processor time since the root process began.
    pub cpu_millis: u64,
    /// Processes.
    pub processes: u32,
    /// Threads.
    pub threads: u32,
}

/// One recording.
#[derive(Clone, Debug)]
pub struct Trace {
    /// What its kernel did.
    pub family: String,
    /// How.
    pub variant: String,
    /// Base interval.
    pub interval_ms: u32,
    /// No detector was tuned on its family.
    pub held_out: bool,
    /// What was read, oldest first.
    pub points: Vec<Point>,
}

/// A trace with a limit.
#[derive(Clone, Debug)]
pub struct Episode<'a> {
    /// What was recorded.
    pub trace: &'a Trace,
    /// What kills it.
    pub limit_bytes: u64,
    /// The first row at the limit or above; nothing after it ever happened.
    pub crossing: Option<usize>,
    /// It does not cross, and nobody knows whether it would have.
    pub still_rising: bool,
}

#[derive(Deserialize)]
struct Manifest {
    episodes: Limits,
    family: BTreeMap<String, Family>,
}

#[derive(Clone, Deserialize)]
struct Limits {
    cross: Vec<f64>,
    stay: Vec<f64>,
}

#[derive(Deserialize)]
struct Family {
    #[serde(default)]
    held_out: bool,
    cross: Option<Vec<f64>>,
    stay: Option<Vec<f64>>,
    #[serde(default)]
    variants: Vec<Variant>,
}

/// What a variant has instead of what its family has.
#[derive(Deserialize)]
struct Variant {
    name: String,
    cross: Option<Vec<f64>>,
    stay: Option<Vec<f64>>,
}

#[derive(Deserialize)]
struct Row {
    timestamp: String,
    rss: u64,
    cpu_millis: u64,
    memory_used_bytes: u64,
    processes: u32,
    threads: u32,
}

/// The corpus, with the limits of each family.
pub struct Corpus {
    traces: Vec<(Trace, Limits)>,
}

// === impl Corpus ===

impl Corpus {
    /// Reads `corpus.toml` and every trace beside it.
    ///
    /// # Errors
    /// A file is not what it should be; it is named.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("corpus.toml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let manifest: Manifest =
            toml::from_str(&text).with_context(|| path.display().to_string())?;
        let traces_dir = folder.join("traces");
        let mut names: Vec<_> = std::fs::read_dir(&traces_dir)
            .with_context(|| traces_dir.display().to_string())?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|ext| ext == "csv"))
            .collect();
        names.sort();
        let mut traces = Vec::with_capacity(names.len());
        for path in names {
            let trace = manifest.trace(&path);
            traces.push(trace.with_context(|| path.display().to_string())?);
        }
        ensure!(
            !traces.is_empty(),
            "{} holds no trace",
            traces_dir.display()
        );
        Ok(Self { traces })
    }

    /// Traces, each with the limits that it is to cross and to stay below.
    pub(super) fn of(traces: Vec<(Trace, Vec<f64>, Vec<f64>)>) -> Self {
        let with_limits = |(trace, cross, stay)| (trace, Limits { cross, stay });
        Self {
            traces: traces.into_iter().map(with_limits).collect(),
        }
    }

    /// Every episode, in the order of the files.
    #[must_use]
    pub fn episodes(&self) -> Vec<Episode<'_>> {
        self.under(|limits| (limits.cross.as_slice(), limits.stay.as_slice()))
    }

    /// The same under limits that are laid closer and further, to see what hangs on where they lie.
    #[must_use]
    pub fn episodes_elsewhere(&self) -> Vec<Episode<'_>> {
        self.under(|limits| {
            let none = limits.cross.is_empty();
            let cross: &[f64] = if none { &[] } else { &CROSS_ELSEWHERE };
            (cross, &STAY_ELSEWHERE[..])
        })
    }

    fn under<'a>(
        &'a self,
        shares: impl Fn(&'a Limits) -> (&'a [f64], &'a [f64]),
    ) -> Vec<Episode<'a>> {
        let of = |(trace, limits): &'a (Trace, Limits)| {
            let (begin, highest) = (trace.begin_bytes(), trace.highest_bytes());
            let (cross, stay) = shares(limits);
            let cross = cross
                .iter()
                .map(move |share| begin + (highest.saturating_sub(begin) as f64 * share) as u64);
            let stay = stay
                .iter()
                .map(move |times| (highest as f64 * times) as u64);
            cross.chain(stay).collect::<Vec<_>>()
        };
        self.traces
            .iter()
            .flat_map(|known| of(known).into_iter().map(|limit| known.0.under(limit)))
            .collect()
    }
}

impl Manifest {
    /// Reads `FAMILY-VARIANT-Ns.csv`.
    fn trace(&self, path: &Path) -> Result<(Trace, Limits)> {
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .unwrap_or("");
        let mut parts = name.split('-');
        let (Some(family), Some(variant), Some(interval), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            anyhow::bail!("the name is not FAMILY-VARIANT-INTERVAL");
        };
        let about = self
            .family
            .get(family)
            .context("corpus.toml does not know the family")?;
        let seconds: u32 = interval
            .strip_suffix('s')
            .and_then(|seconds| seconds.parse().ok())
            .context("the interval is not a number of seconds")?;
        let trace = Trace {
            family: family.to_owned(),
            variant: variant.to_owned(),
            interval_ms: seconds * 1000,
            held_out: about.held_out,
            points: points(path)?,
        };
        let own = about.variants.iter().find(|own| own.name == variant);
        let cross = own.and_then(|own| own.cross.as_ref());
        let stay = own.and_then(|own| own.stay.as_ref());
        let limits = Limits {
            cross: cross
                .or(about.cross.as_ref())
                .unwrap_or(&self.episodes.cross)
                .clone(),
            stay: stay
                .or(about.stay.as_ref())
                .unwrap_or(&self.episodes.stay)
                .clone(),
        };
        Ok((trace, limits))
    }
}

fn points(path: &Path) -> Result<Vec<Point>> {
    let mut reader = csv::Reader::from_reader(File::open(path)?);
    let mut points: Vec<Point> = Vec::new();
    let mut first = None;
    for row in reader.deserialize() {
        let row: Row = row?;
        let at: jiff::civil::DateTime = row.timestamp.parse()?;
        let at_ms = at
            .to_zoned(jiff::tz::TimeZone::UTC)?
            .timestamp()
            .as_millisecond();
        let at_ms = at_ms - *first.get_or_insert(at_ms);
        let last_ms = points.last().map_or(i64::MIN, |last| last.at_ms);
        ensure!(last_ms <= at_ms, "a row is before the one above it");
        if last_ms == at_ms {
            continue; // a late tick and the next at once: of the same moment the first counts
        }
        points.push(Point {
            at_ms,
            used_bytes: row.memory_used_bytes,
            rss_bytes: row.rss,
            cpu_millis: row.cpu_millis,
            processes: row.processes,
            threads: row.threads,
        });
    }
    ensure!(points.len() >= 10, "only {} rows", points.len());
    Ok(points)
}

// === impl Trace ===

impl Trace {
    /// Its name in tables.
    #[must_use]
    pub fn name(&self) -> String {
        format!(
            "{}-{}-{}s",
            self.family,
            self.variant,
            self.interval_ms / 1000
        )
    }

    fn begin_bytes(&self) -> u64 {
        let begin = self
            .points
            .iter()
            .take_while(|point| point.at_ms <= BEGIN_MS);
        let mut used: Vec<u64> = begin.map(|point| point.used_bytes).collect();
        used.sort_unstable();
        used[used.len() / 2]
    }

    fn highest_bytes(&self) -> u64 {
        self.points
            .iter()
            .map(|point| point.used_bytes)
            .max()
            .unwrap_or(0)
    }

    /// This trace where `limit_bytes` kills.
    #[must_use]
    pub fn under(&self, limit_bytes: u64) -> Episode<'_> {
        let crossing = self
            .points
            .iter()
            .position(|point| point.used_bytes >= limit_bytes);
        Episode {
            trace: self,
            limit_bytes,
            crossing,
            still_rising: crossing.is_none() && self.rises_at_the_end(),
        }
    }

    fn rises_at_the_end(&self) -> bool {
        let tenth = (self.points.len() / 10).max(1);
        let median = |points: &[Point]| {
            let mut used: Vec<u64> = points.iter().map(|point| point.used_bytes).collect();
            used.sort_unstable();
            used[used.len() / 2] as f64
        };
        let end = self.points.len();
        let last = median(&self.points[end - tenth..]);
        let before = median(&self.points[end - 2 * tenth..end - tenth]);
        last - before > STILL_RISING_SHARE * self.highest_bytes() as f64
    }
}

impl Episode<'_> {
    /// What a detector gets to see, oldest first: all before the crossing.
    #[must_use]
    pub fn seen(&self) -> &[Point] {
        &self.trace.points[..self.crossing.unwrap_or(self.trace.points.len())]
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::LazyLock};

    use super::*;

    /// A hole in a trace that is longer was no late sample: its machine did something else.
    const HOLE_MS_MAX: i64 = 20_000;

    static RECORDED: LazyLock<Corpus> = LazyLock::new(|| {
        Corpus::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).unwrap()
    });

    #[test]
    fn three_hundred_episodes_or_more_a_hundred_of_them_held_out_in_eight_whole_families() {
        let episodes = RECORDED.episodes();
        let held_out = || episodes.iter().filter(|episode| episode.trace.held_out);
        let families: BTreeSet<&str> = held_out().map(|e| e.trace.family.as_str()).collect();
        assert!(episodes.len() >= 300, "{}", episodes.len());
        assert!(held_out().count() >= 100, "{}", held_out().count());
        assert!(families.len() >= 8, "{families:?}");
    }

    #[test]
    fn every_variant_was_recorded_at_both_intervals_and_without_holes() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        let text = std::fs::read_to_string(folder.join("corpus.toml")).unwrap();
        let manifest: Manifest = toml::from_str(&text).unwrap();
        let names: BTreeSet<String> = RECORDED.traces.iter().map(|(t, _)| t.name()).collect();
        for (family, about) in &manifest.family {
            for variant in &about.variants {
                for seconds in [1, 5] {
                    let name = format!("{family}-{}-{seconds}s", variant.name);
                    assert!(names.contains(&name), "{name} was not recorded");
                }
            }
        }
        for (trace, _) in &RECORDED.traces {
            let gaps = trace
                .points
                .windows(2)
                .map(|two| two[1].at_ms - two[0].at_ms);
            let longest_ms = gaps.max().unwrap_or(0);
            assert!(
                longest_ms <= HOLE_MS_MAX,
                "{}: {longest_ms} ms",
                trace.name()
            );
        }
    }

    #[test]
    fn a_variant_may_have_other_limits_than_its_family() {
        let limits = |name: &str| {
            let found = RECORDED
                .traces
                .iter()
                .find(|(trace, _)| trace.name() == name);
            found.map(|(_, limits)| (limits.cross.len(), limits.stay.len()))
        };
        assert_eq!(limits("rerun-keeps-5s"), Some((2, 2)));
        assert_eq!(limits("rerun-often-5s"), Some((0, 3)));
    }
}
