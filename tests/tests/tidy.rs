//! Tidy: what every file of the checkout is held to, as a test.
//!
//! Sizes are a ratchet: files over the limit are listed with what they may hold, and the list only
//! shrinks.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Lines of a source file; more means that it does more than one thing.
const LINES_MAX: usize = 500;

/// Files that are longer, and how long they may be. Only ever shrink these.
const LONGER: [(&str, usize); 0] = [];

/// Folders without sources of ours.
const SKIPPED: [&str; 9] = [
    ".git",
    "target",
    "node_modules",
    "dist",
    "lib",
    "__pycache__",
    "test-results",
    "playwright-report",
    "static",
];

/// Text files by extension.
const TEXT: [&str; 18] = [
    "rs", "toml", "ts", "tsx", "js", "mjs", "py", "md", "css", "html", "json", "proto", "service",
    "yaml", "yml", "sh", "txt", "ipynb",
];

/// One file of the checkout.
struct File {
    /// From the root, with slashes.
    name: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn files() -> Vec<File> {
    let mut found = Vec::new();
    collect(&root(), &root(), &mut found);
    assert!(found.len() > 20, "the checkout was not found");
    found
}

fn collect(root: &Path, dir: &Path, found: &mut Vec<File>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let last = path.file_name().unwrap().to_str().unwrap();
        if path.is_symlink()
            || SKIPPED.contains(&last)
            || last.ends_with(".egg-info")
            || is_built(&name)
        {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, found);
        } else if path
            .extension()
            .and_then(|e| e.to_str())
            .is_some_and(|e| TEXT.contains(&e))
        {
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
            found.push(File { name, text });
        }
    }
}

/// Built into the checkout by tools that leave no choice; ignored by git.
fn is_built(name: &str) -> bool {
    name.starts_with("labextension/hubmeter/labextension")
        || name.starts_with("labextension/hubmeter/bin")
}

/// Source files of ours in the languages whose style we decide.
fn sources() -> Vec<File> {
    files()
        .into_iter()
        .filter(|f| is_source(&f.name) && !f.name.starts_with("proto/src/gen/"))
        .collect()
}

fn is_source(name: &str) -> bool {
    [".rs", ".ts", ".tsx", ".py"]
        .iter()
        .any(|end| name.ends_with(end))
}

fn is_script(name: &str) -> bool {
    name.ends_with(".ts") || name.ends_with(".tsx")
}

fn is_test(name: &str) -> bool {
    name.ends_with("tests.rs") || name.contains("/tests/")
}

/// Fails with every complaint at once.
fn expect_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// `file:line: text` for every line of the chosen files that `is_bad`.
fn lines_where(files: &[File], is_bad: impl Fn(&File, &str) -> bool) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files
        .iter()
        .filter(|file| file.name != "tests/tests/tidy.rs")
    {
        for (index, line) in file.text.lines().enumerate() {
            if is_bad(file, line) {
                complaints.push(format!("{}:{}: {}", file.name, index + 1, line.trim()));
            }
        }
    }
    complaints
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        ![before, after]
            .into_iter()
            .flatten()
            .any(|c| c.is_alphanumeric() || c == '_')
    })
}

fn has_any(line: &str, words: &[&str]) -> bool {
    words.iter().any(|word| line.contains(word))
}

#[test]
fn files_stay_short() {
    let mut complaints = Vec::new();
    for file in sources() {
        let lines = file.text.lines().count();
        let allowed = LONGER
            .iter()
            .find(|(name, _)| *name == file.name)
            .map_or(LINES_MAX, |(_, max)| *max);
        if lines > allowed {
            complaints.push(format!("{}: {lines} lines, {allowed} allowed", file.name));
        }
    }
    expect_none(&complaints);
}

#[test]
fn the_list_of_long_files_only_shrinks() {
    for (name, max) in LONGER {
        let lines = fs::read_to_string(root().join(name))
            .expect(name)
            .lines()
            .count();
        assert!(
            lines > LINES_MAX,
            "{name} is short now: take it off the list"
        );
        assert!(
            lines + 20 > max,
            "{name} has {lines} lines now: lower its {max}"
        );
    }
}

#[test]
fn every_rust_file_begins_by_saying_what_it_is_for() {
    let says = |text: &str| {
        text.strip_prefix("//! ")
            .is_some_and(|rest| rest.lines().next().is_some_and(|l| l.len() >= 12))
    };
    let bare: Vec<String> = sources()
        .into_iter()
        // What `foo/tests.rs` is for, its name says.
        .filter(|f| f.name.ends_with(".rs") && !f.name.ends_with("/tests.rs") && !says(&f.text))
        .map(|f| format!("{}: no //! at its head", f.name))
        .collect();
    expect_none(&bare);
}

#[test]
fn nothing_is_put_off_or_switched_off() {
    expect_none(&lines_where(&sources(), |file, line| {
        ["TODO", "FIXME", "XXX", "HACK"]
            .iter()
            .any(|word| has_word(line, word))
            || (file.name.ends_with(".rs")
                && has_any(line, &["todo!(", "unimplemented!(", "#[ignore"]))
            || (is_script(&file.name)
                && has_any(
                    line,
                    &["test.only(", "it.only(", "describe.only(", "@ts-ignore"],
                ))
    }));
}

#[test]
fn no_module_is_named_after_nothing() {
    let vague = [
        "util", "utils", "helper", "helpers", "manager", "managers", "misc", "common",
    ];
    let found: Vec<String> = sources()
        .into_iter()
        .filter(|f| {
            let stem = Path::new(&f.name)
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_lowercase();
            stem.split(['_', '-', '.'])
                .any(|part| vague.contains(&part))
        })
        .map(|f| f.name)
        .collect();
    expect_none(&found);
}

#[test]
fn modules_are_files_named_like_them() {
    let old: Vec<String> = sources()
        .into_iter()
        .map(|f| f.name)
        .filter(|n| n.ends_with("/mod.rs"))
        .collect();
    expect_none(&old);
}

#[test]
fn pages_never_take_markup_from_strings() {
    let pages: Vec<File> = files()
        .into_iter()
        .filter(|f| f.name.starts_with("collector/ui/") || f.name.starts_with("labextension/"))
        .filter(|f| is_script(&f.name) || f.name.ends_with(".js") || f.name.ends_with(".html"))
        .collect();
    expect_none(&lines_where(&pages, |_, line| {
        has_any(
            line,
            &[
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
            ],
        )
    }));
}

#[test]
fn lock_files_name_no_registry() {
    let locks: Vec<File> = files()
        .into_iter()
        .filter(|f| f.name.ends_with("package-lock.json"))
        .collect();
    assert!(locks.len() >= 2, "the lock files were not found");
    expect_none(&lines_where(&locks, |_, line| {
        line.trim_start().starts_with("\"resolved\": \"http")
    }));
}

#[test]
fn lines_end_where_they_end() {
    let ours: Vec<File> = files()
        .into_iter()
        .filter(|f| !f.name.ends_with(".json"))
        .collect();
    let mut complaints = lines_where(&ours, |file, line| {
        // Two spaces at the end are a line break in Markdown.
        let is_break = file.name.ends_with(".md") && line.ends_with("  ");
        // "-- " on a line of its own is how a mail's signature begins.
        line.ends_with([' ', '\t', '\r']) && !is_break && line != "-- "
    });
    complaints.extend(
        ours.iter()
            .filter(|f| !f.text.is_empty() && (!f.text.ends_with('\n') || f.text.ends_with("\n\n")))
            .map(|f| format!("{}: does not end with exactly one newline", f.name)),
    );
    expect_none(&complaints);
}

#[test]
fn no_path_of_somebodys_machine() {
    let private = ["/root/.", "/Users/", "/home/runner/"];
    expect_none(&lines_where(&files(), |_, line| has_any(line, &private)));
}

#[test]
fn the_readers_way_in_is_there() {
    let wanted = [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "docs/ARCHITECTURE.md",
        "docs/INSTALL.md",
    ];
    let missing: Vec<String> = wanted
        .iter()
        .filter(|name| !root().join(name).is_file())
        .map(|name| format!("{name} is missing"))
        .collect();
    expect_none(&missing);
}

// --- architecture invariants that can be read off the sources ---

fn collector(keep: impl Fn(&str) -> bool) -> Vec<File> {
    sources()
        .into_iter()
        .filter(|f| {
            f.name
                .strip_prefix("collector/src/")
                .is_some_and(|name| keep(name) && !is_test(name))
        })
        .collect()
}

/// Whether a file of the collector belongs to one of these modules.
fn is_in(name: &str, modules: &[&str]) -> bool {
    modules
        .iter()
        .any(|module| name == format!("{module}.rs") || name.starts_with(&format!("{module}/")))
}

#[test]
fn only_the_link_sees_wire_types() {
    expect_none(&lines_where(
        &collector(|name| !is_in(name, &["link"])),
        |_, line| line.contains("hubmeter_proto::v1") || line.contains("prost::"),
    ));
}

#[test]
fn domain_types_are_not_serializable() {
    let domain = collector(|name| is_in(name, &["fact", "state", "verdict"]));
    expect_none(&lines_where(&domain, |_, line| {
        has_any(line, &["Serialize", "serde::", "serde_json"])
    }));
}

#[test]
fn judging_reads_no_clock_and_does_no_io() {
    let mut pure = collector(|name| is_in(name, &["fact", "state", "verdict", "cull"]));
    pure.extend(
        sources()
            .into_iter()
            .filter(|f| f.name.starts_with("kinetics/src/")),
    );
    assert!(pure.len() > 4, "the pure modules were not found");
    // Hash maps are out too: their order differs from run to run.
    let impure = [
        "std::fs",
        "std::net",
        "std::env",
        "tokio::",
        "crate::clock",
        "Instant",
        "SystemTime",
        "HashMap",
        "HashSet",
    ];
    expect_none(&lines_where(&pure, |_, line| {
        impure.iter().any(|word| line.contains(word))
    }));
}

#[test]
fn only_one_module_calls_the_hub() {
    // Notices go to webhooks by the same HTTP client.
    let others = collector(|name| !is_in(name, &["hub", "notice", "config"]));
    expect_none(&lines_where(&others, |_, line| line.contains("reqwest::")));
}

#[test]
fn each_program_reads_clocks_in_one_file() {
    let programs: Vec<File> = sources()
        .into_iter()
        .filter(|f| f.name.starts_with("agent/src/") || f.name.starts_with("collector/src/"))
        .filter(|f| !f.name.ends_with("src/clock.rs") && !is_test(&f.name))
        .collect();
    expect_none(&lines_where(&programs, |_, line| {
        line.contains("clippy::disallowed_methods")
    }));
}
