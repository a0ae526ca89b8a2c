use serde_json::Value;

use super::*;

const GOLDEN: &str = "\
2019-11-16 21:56:11,1887293040
2019-11-16 21:56:16,1786839040
2019-11-16 21:56:20,1797476352
2019-11-16 21:56:25,1756991488
2019-11-16 21:56:30,1925214208
2019-11-16 21:56:36,1802223616
";

fn run(csv: &str, format: ReplayFormat, limit_bytes: Option<u64>) -> Result<String, ReplayError> {
    let options = ReplayOptions {
        limit_bytes,
        format,
        policy: Policy::default(),
    };
    let mut out = Vec::new();
    replay(csv.as_bytes(), &options, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

fn rows(csv: &str, limit_bytes: Option<u64>) -> Vec<Value> {
    let out = run(csv, ReplayFormat::Json, limit_bytes).unwrap();
    let line = |line: &str| serde_json::from_str(line).unwrap();
    out.lines().map(line).collect()
}

#[test]
fn the_golden_rows_come_out_to_the_last_bit() {
    let rows = rows(GOLDEN, None);
    let printed: Vec<_> = rows
        .iter()
        .skip(1)
        .map(|row| {
            let number = |name: &str| row[name].as_f64().unwrap();
            format!("{:.6} {:.6}", number("momentum_gb"), number("speed_gb"))
        })
        .collect();
    assert_eq!(
        printed,
        [
            "-0.100454 0.010637",
            "0.010637 0.040485",
            "-0.040485 0.168223",
            "0.168223 0.122991",
            "-0.122991 0.000000",
        ]
    );
    assert_eq!(rows[0]["momentum_gb"].as_f64(), Some(0.0));
    // The printed text, read by the standard library: serde_json's reader may be a bit off.
    let out = run(GOLDEN, ReplayFormat::Json, None).unwrap();
    let lines: Vec<_> = out.lines().collect();
    for pair in lines.windows(2) {
        let momentum = number(pair[1], "momentum_gb");
        let gb = |line| number(line, "rss_bytes") / 1e6 / 1000.0;
        assert_eq!(momentum.to_bits(), (gb(pair[1]) - gb(pair[0])).to_bits());
        assert_eq!(
            number(pair[0], "speed_gb").to_bits(),
            momentum.abs().to_bits()
        );
    }
}

fn number(line: &str, field: &str) -> f64 {
    let (_, rest) = line.split_once(&format!("\"{field}\":")).unwrap();
    rest.split(',').next().unwrap().parse().unwrap()
}

#[test]
fn a_row_has_the_contracts_fields_in_its_order() {
    let out = run(GOLDEN, ReplayFormat::Json, None).unwrap();
    let first = out.lines().next().unwrap();
    let fields: Vec<_> = first
        .split('"')
        .filter(|part| part.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !part.is_empty())
        .collect();
    assert_eq!(
        fields,
        [
            "timestamp",
            "rss_bytes",
            "mb",
            "gb",
            "momentum_gb",
            "speed_gb",
            "rate_bytes_per_second",
            "trend_bytes_per_second",
            "seconds_to_limit",
            "seconds_to_limit_low",
            "seconds_to_limit_high",
            "verdicts",
        ]
    );
    assert!(
        first.starts_with(r#"{"timestamp":"2019-11-16T21:56:11.000Z","rss_bytes":1887293040,"#)
    );
    assert!(first.contains(r#""rate_bytes_per_second":null"#), "{first}");
}

#[test]
fn the_table_prints_the_golden_figures() {
    let out = run(GOLDEN, ReplayFormat::Table, None).unwrap();
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines.len(), 7);
    assert!(lines[2].starts_with("2019-11-16 21:56:16"), "{}", lines[2]);
    assert!(lines[2].contains("-0.100454    0.010637"), "{}", lines[2]);
}

#[test]
fn a_bad_row_is_refused_with_its_line_and_what_is_wrong() {
    let says = |csv: &str| run(csv, ReplayFormat::Json, None).unwrap_err().to_string();
    assert_eq!(
        says("timestamp,rss\n2019-11-16 21:56:16,1\n2019-11-16 21:56:20,many\n"),
        "line 3: rss \"many\" is not a whole number"
    );
    assert!(says("2019-11-16 21:56:16,1\n2019-11-16 21:56:15,1\n").starts_with("line 2: "));
    assert!(says("a,b\n").starts_with("line 1: timestamp \"a\""));
    assert!(says("timestamp,rss\n2019-11-16 21:56:16,1,2\n").starts_with("line 2: 3 columns"));
}

#[test]
fn rows_before_a_bad_one_are_still_written() {
    let mut out = Vec::new();
    let options = ReplayOptions {
        format: ReplayFormat::Json,
        ..ReplayOptions::default()
    };
    let csv = "2019-11-16 21:56:16,1\n2019-11-16 21:56:20,2\nbad,3\n";
    assert!(replay(csv.as_bytes(), &options, &mut out).is_err());
    assert_eq!(String::from_utf8(out).unwrap().lines().count(), 1);
}

#[test]
fn an_empty_file_has_no_rows() {
    assert_eq!(run("", ReplayFormat::Json, None).unwrap(), "");
    assert_eq!(
        run("timestamp,rss\n", ReplayFormat::Json, None).unwrap(),
        ""
    );
}

#[test]
fn a_leak_is_flagged_before_its_limit_and_the_same_on_every_replay() {
    let csv: String = (0..40_u64)
        .map(|i| {
            format!("2026-01-01T00:{:02}:{:02}Z,{}\n", i * 5 / 60, i * 5 % 60, {
                200_000_000 + i * 100_000_000
            })
        })
        .collect();
    let limit = Some(2_000_000_000);
    let rows = rows(&csv, limit);
    let first = rows
        .iter()
        .position(|row| row["verdicts"][0]["rule"] == "runaway_memory")
        .unwrap();
    let at_flag = &rows[first];
    assert!(
        at_flag["rss_bytes"].as_u64().unwrap() <= 1_300_000_000,
        "{at_flag}"
    );
    let verdict = &at_flag["verdicts"][0];
    assert_eq!(verdict["evidence"]["trend_bytes_per_second"], 2e7);
    assert_eq!(verdict["severity"], "critical");
    assert_eq!(verdict["episode"].as_str().unwrap().len(), 16);
    let again = run(&csv, ReplayFormat::Json, limit).unwrap();
    assert_eq!(again, run(&csv, ReplayFormat::Json, limit).unwrap());
}

#[test]
fn without_cpu_nobody_is_called_idle() {
    let csv = |cpu: &str| -> String {
        (0..120)
            .map(|i| {
                format!(
                    "2026-01-01T{:02}:{:02}:00Z,200000000{cpu}\n",
                    i / 60,
                    i % 60
                )
            })
            .collect()
    };
    let says_idle = |csv: &str| {
        let rows = rows(csv, None);
        rows.iter().any(|row| row["verdicts"][0]["rule"] == "idle")
    };
    assert!(!says_idle(&csv("")));
    assert!(says_idle(&csv(",1000")));
}

#[test]
fn processes_that_multiply_and_cores_far_past_habit_are_seen_in_a_recording() {
    let opened = |csv: &str| -> Vec<String> {
        let mut rules: Vec<String> = rows(csv, None)
            .iter()
            .flat_map(|row| row["verdicts"].as_array().unwrap().clone())
            .map(|verdict| verdict["rule"].as_str().unwrap().to_owned())
            .collect();
        rules.sort();
        rules.dedup();
        rules
    };
    let line = |at_s: u64, millis: u64, processes: u64| {
        let (hour, minute, second) = (at_s / 3_600, at_s / 60 % 60, at_s % 60);
        format!("2026-01-01T{hour:02}:{minute:02}:{second:02}Z,200000000,{millis},{processes}\n")
    };
    let head = "timestamp,rss,cpu_millis,processes\n";
    let storm = (0..60).map(|i| line(i * 5, i * 500, if i < 30 { 4 } else { 20 * i }));
    assert_eq!(
        opened(&(head.to_owned() + &storm.collect::<String>())),
        ["process_storm"]
    );
    // An hour at a tenth of a core, then two cores.
    let spin = (0..1_000).map(|i| line(i * 5, i * 500 + i.max(720) * 9_500 - 720 * 9_500, 4));
    assert_eq!(
        opened(&(head.to_owned() + &spin.collect::<String>())),
        ["runaway_cpu"]
    );
}
