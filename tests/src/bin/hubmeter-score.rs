//! `hubmeter-score`: how well detectors judge the corpus; `cargo xtask score` runs it.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Parser;
use hubmeter_collector::{state::Policy, verdict::Rule};
use hubmeter_tests::score::{
    baselines::{Badness, Holt, Level, PredictLinear},
    corpus::{Corpus, Episode},
    cross,
    detector::{Detector, Ours},
    generated,
    outcome::{Outcome, judge},
    picture, portrait, table,
};

/// Prints a table per half of the corpus: detectors, who they caught in time, and when they cried wolf.
#[derive(Debug, Parser)]
#[command(name = "hubmeter-score", version, max_term_width = 100)]
struct Cli {
    /// The corpus
    #[arg(long, value_name = "DIR", default_value = "tests/corpus")]
    corpus: PathBuf,
    /// Where pictures of misses and false alarms go
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    /// Draw the pictures of docs/VERDICTS.md into this folder, and judge nothing
    #[arg(long, value_name = "DIR")]
    portraits: Option<PathBuf>,
    /// Judge behaviours that are made up from SEED, not the corpus
    #[arg(long, value_name = "SEED", num_args = 0..=1, require_equals = true, default_missing_value = SEED)]
    generated: Option<u64>,
    /// Only the families detectors may be tuned on; the others stay unseen
    #[arg(long)]
    tuning_only: bool,
    /// Fit the thresholds of ours without each family in turn and judge it by them, and print what each choice
    /// gives; all families that are not held out take part
    #[arg(long)]
    cross: bool,
    /// Lay the limits closer and further than corpus.toml does
    #[arg(long)]
    elsewhere: bool,
    /// List misses and false alarms, and what each family did
    #[arg(long)]
    list: bool,
}

/// Of the behaviours that are made up, where no other is told.
const SEED: &str = "6";

type Maker = fn() -> Box<dyn Detector>;

const OURS: &str = "runaway_memory (ours)";

/// What people are told of: the forecast, and that little is left.
const BOTH: &[Rule] = &[Rule::RunawayMemory, Rule::NearLimit];

const DETECTORS: [(&str, Maker); 9] = [
    (OURS, || Box::<Ours>::default()),
    ("runaway_memory or near_limit (ours)", || {
        Box::new(Ours::of(BOTH, Policy::default()))
    }),
    ("level 80 %", || Box::new(Level { share: 0.80 })),
    ("level 90 % (earlyoom's rule)", || {
        Box::new(Level { share: 0.90 })
    }),
    ("level 95 %", || Box::new(Level { share: 0.95 })),
    ("predict_linear 5 m", || Box::new(PredictLinear::over(5))),
    ("predict_linear 30 m", || Box::new(PredictLinear::over(30))),
    ("badness as Arbiter2's", || Box::new(Badness::none())),
    ("Holt", || Box::<Holt>::default()),
];

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "hubmeter-score: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let mut out = io::stdout().lock();
    if let Some(folder) = &cli.portraits {
        return draw_portraits(&cli.corpus, folder);
    }
    let corpus = match cli.generated {
        Some(seed) => generated::corpus(seed),
        None => Corpus::read(&cli.corpus)?,
    };
    let episodes = if cli.elsewhere {
        corpus.episodes_elsewhere()
    } else {
        corpus.episodes()
    };
    if cli.cross {
        let seen: Vec<Episode<'_>> = episodes
            .into_iter()
            .filter(|episode| !episode.trace.held_out)
            .collect();
        cross::print(&mut out, &seen)?;
        return Ok(());
    }
    let halves: &[(bool, &str)] = if cli.generated.is_some() {
        &[(false, "behaviours made up")]
    } else if cli.tuning_only {
        &[(false, "families to tune on")]
    } else {
        &[(false, "families to tune on"), (true, "families held out")]
    };
    for (held_out, title) in halves {
        let half: Vec<&Episode<'_>> = episodes
            .iter()
            .filter(|episode| episode.trace.held_out == *held_out)
            .collect();
        let left_out = half.iter().filter(|episode| episode.still_rising).count();
        writeln!(
            out,
            "\n{title}: {} episodes, {left_out} of them still rising when they end\n",
            half.len()
        )?;
        print_table(&mut out, &half, cli)?;
    }
    Ok(())
}

fn draw_portraits(corpus: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for (name, svg) in portrait::portraits(corpus)? {
        let path = folder.join(name);
        fs::write(&path, svg).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn print_table(out: &mut impl Write, episodes: &[&Episode<'_>], cli: &Cli) -> Result<()> {
    writeln!(out, "{}", table::head())?;
    let mut ours = Vec::new();
    for (name, make) in DETECTORS {
        let mut tally = table::Tally::default();
        for episode in episodes {
            let outcome = judge(episode, make().as_mut());
            tally.add(&outcome);
            if name == OURS {
                ours.push((*episode, outcome));
            }
        }
        writeln!(out, "{}", tally.line(name))?;
    }
    let odd = |(_, outcome): &&(&Episode<'_>, Outcome)| {
        outcome.false_alarms > 0 || (outcome.crossed && !outcome.caught)
    };
    if cli.list {
        list(out, &ours)?;
    }
    if let Some(folder) = &cli.pictures {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        for (episode, outcome) in ours.iter().filter(odd) {
            let what = if outcome.crossed { "missed" } else { "false" };
            let name = format!(
                "{what}-{}-{}MB.svg",
                episode.trace.name(),
                episode.limit_bytes / 1_000_000
            );
            let path = folder.join(name);
            fs::write(&path, picture::svg(episode, outcome))
                .with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

fn list(out: &mut impl Write, ours: &[(&Episode<'_>, Outcome)]) -> io::Result<()> {
    writeln!(out)?;
    for (episode, outcome) in ours {
        let what = if outcome.unforeseeable {
            "crossed at once".to_owned()
        } else if outcome.crossed {
            let lead = outcome.lead_share.unwrap_or(0.0);
            format!(
                "{}, lead {lead:.2}",
                if outcome.caught { "caught" } else { "MISSED" }
            )
        } else if outcome.false_alarms > 0 {
            format!("{} FALSE", outcome.false_alarms)
        } else if episode.still_rising {
            format!("still rising, {} alarms", outcome.raised.len())
        } else {
            "quiet".to_owned()
        };
        writeln!(
            out,
            "{:<32} {:>7.0} MB  {what}",
            episode.trace.name(),
            episode.limit_bytes as f64 / 1e6
        )?;
    }
    Ok(())
}
