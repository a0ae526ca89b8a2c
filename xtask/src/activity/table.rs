//! The table: what was counted and spent, a column for each meter.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{Activity, Counts, Meter, PHASES};

/// What is counted beside requests, and shown.
const SHOWN: [&str; 5] = [
    "proxy_steps",
    "proxy_steps_alone",
    "server_steps",
    "server_steps_alone",
    "kernel_steps",
];

/// What the server itself spends and takes, and how it is called in the table.
const SPENT: [(&str, &str); 3] = [
    ("loop_ms_per_minute", "loop CPU, ms/min"),
    ("latency_ms_p50", "answer p50, ms"),
    ("latency_ms_p90", "answer p90, ms"),
];

/// The whole table of what was measured so far.
pub(super) fn of(runs: &BTreeMap<Meter, Counts>, args: &Activity) -> String {
    let mut text = format!(
        "\nvisible for {} s, hidden and closed for {} s\n{:24}",
        args.seconds, args.quiet_seconds, ""
    );
    text.push_str(&cells(runs.keys(), |meter| meter.name().to_owned()));
    for phase in PHASES {
        let _ = write!(text, "\n{phase}");
        let mut row = |title: &str, of: &dyn Fn(&Counts) -> String| {
            let _ = write!(text, "\n  {title:<22}{}", cells(runs.values(), of));
        };
        row("requests", &|run| {
            run.routes(phase).values().sum::<u64>().to_string()
        });
        for step in SHOWN {
            let title = step.replace('_', " ").replace("alone", "unasked");
            row(&title, &|run| run.number(phase, step).to_string());
        }
        for (name, title) in SPENT {
            row(title, &|run| {
                run.figure(phase, name)
                    .map_or_else(|| "–".into(), |it| format!("{it:.1}"))
            });
        }
    }
    text.push_str("\nRequests by route while visible:");
    let mut routes: Vec<String> = runs
        .values()
        .flat_map(|run| run.routes("visible").into_keys())
        .collect();
    routes.sort();
    routes.dedup();
    for route in routes {
        let count = |run: &Counts| run.routes("visible").get(&route).copied().unwrap_or(0);
        let _ = write!(
            text,
            "\n  {}  {route}",
            cells(runs.values(), |run| count(run).to_string())
        );
    }
    text.push('\n');
    text
}

/// One cell for each.
fn cells<T>(of: impl Iterator<Item = T>, text: impl Fn(T) -> String) -> String {
    let all: Vec<String> = of.map(|one| format!("{:>8}", text(one))).collect();
    all.join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_column_stands_under_its_meter_and_what_was_not_measured_is_a_dash() {
        let counts = |loop_ms: Option<f64>| {
            Counts(json!({"visible": {
                "routes": {"WEB api/kernels": 7},
                "loop_ms_per_minute": loop_ms,
            }}))
        };
        let runs = BTreeMap::from([
            (Meter::Off, counts(Some(12.34))),
            (Meter::Ours, counts(None)),
        ]);
        let args = Activity {
            seconds: 600,
            quiet_seconds: 120,
            only: Vec::new(),
        };
        let text = of(&runs, &args);
        for line in [
            "                             off     ours",
            "  requests                     7        7",
            "  loop CPU, ms/min          12.3        –",
            "         7        7  WEB api/kernels",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
    }
}
