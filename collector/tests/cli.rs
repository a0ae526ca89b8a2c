//! What the command line says, and the codes it ends with.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hubmeter-collector"))
        .args(arguments)
        .env_clear()
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn check_config_tells_every_mistake_with_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("collector.toml");
    std::fs::write(&path, "listen = true\n\n[polcy]\nidle_after = 5\n").unwrap();
    let file = path.to_str().unwrap();
    let checked = run(&["check-config", file]);
    assert_eq!(checked.status.code(), Some(64));
    let told = stderr(&checked);
    assert!(
        told.contains(&format!("{file}:1: listen: expected text, found true")),
        "{told}"
    );
    assert!(
        told.contains(&format!("{file}:4: unknown key polcy.idle_after")),
        "{told}"
    );
}

#[test]
fn check_config_is_silent_about_a_good_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("collector.toml");
    std::fs::write(
        &path,
        "listen = \"127.0.0.1:9640\"\n[policy]\nidle_after = \"2h\"\n",
    )
    .unwrap();
    let checked = run(&["check-config", path.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
    assert!(checked.stdout.is_empty() && checked.stderr.is_empty());
}

#[test]
fn usage_errors_end_with_64() {
    let cases: [&[&str]; 6] = [
        &["--nonsense"],
        &[],
        &["serve", "--listen"],
        &["serve"],
        &["serve", "--standalone", "--listen", "0.0.0.0:19999"],
        &["check-config", "/nonexistent.toml"],
    ];
    for arguments in cases {
        let output = run(arguments);
        assert_eq!(
            output.status.code(),
            Some(64),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn what_cannot_be_done_ends_with_1() {
    let replayed = run(&["replay", "/nonexistent.csv"]);
    assert_eq!(replayed.status.code(), Some(1));
    assert!(stderr(&replayed).contains("/nonexistent.csv"));
}

#[test]
fn an_export_without_anything_to_export_says_why() {
    let dir = tempfile::tempdir().expect("a directory");
    let data_dir = dir.path().to_str().expect("text");
    let export = ["export", "samples", "--user", "ann", "--data-dir", data_dir];
    let exported = run(&export);
    assert_eq!(exported.status.code(), Some(1));
    assert!(stderr(&exported).contains("holds no history"));
    assert!(exported.stdout.is_empty());
    assert_eq!(
        std::fs::read_dir(dir.path()).expect("there").count(),
        0,
        "nothing is made where it reads"
    );
    let file = dir.path().join("collector.toml");
    std::fs::write(&file, "[history]\nmode = \"memory\"\n").expect("written");
    let config = ["--config", file.to_str().expect("text")];
    let exported = run(&[&export[..], &config[..]].concat());
    assert_eq!(exported.status.code(), Some(1));
    assert!(stderr(&exported).contains("history.mode is \"memory\""));
}

#[test]
fn an_export_of_what_there_is_not_ends_with_64() {
    let export = [
        "export",
        "samples",
        "--user",
        "ann",
        "--data-dir",
        "/nonexistent",
    ];
    let cases: [&[&str]; 6] = [
        &["--columns", "timestamp,rsss"],
        &["--columns", ""],
        &["--from", "soon"],
        &["--from=-1h", "--to=-2h"],
        &["--format", "parquet", "--no-header"],
        &["--config", "/nonexistent.toml"],
    ];
    for more in cases {
        let exported = run(&[&export[..], more].concat());
        assert_eq!(exported.status.code(), Some(64), "{more:?}");
        assert!(!exported.stderr.is_empty(), "{more:?}");
    }
}

#[test]
fn the_version_is_told() {
    let told = run(&["--version"]);
    assert_eq!(told.status.code(), Some(0));
    assert!(!told.stdout.is_empty());
}
