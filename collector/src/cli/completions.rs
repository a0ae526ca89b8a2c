//! Shell completions are written ahead, into `deploy/completions/`. Here they are held to be those of
//! the command line; with `HUBMETER_WRITE=1` they are written.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use super::Cli;

fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/completions")
}

/// By the file names that each shell looks for.
fn generated() -> BTreeMap<&'static str, String> {
    [
        ("hubmeter-collector", Shell::Bash),
        ("_hubmeter-collector", Shell::Zsh),
        ("hubmeter-collector.fish", Shell::Fish),
    ]
    .into_iter()
    .map(|(name, shell)| {
        let mut text = Vec::new();
        generate(shell, &mut Cli::command(), "hubmeter-collector", &mut text);
        // Generators leave blanks at line ends, which nobody needs.
        let text = String::from_utf8(text).unwrap();
        // In 4.6.11 the one for bash takes the dash in our name for a subcommand's, in half its lines.
        let text = text.replace("hubmeter__subcmd__collector", "hubmeter__collector");
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        (name, lines.join("\n").trim_end().to_owned() + "\n")
    })
    .collect()
}

#[test]
fn completions_are_those_of_the_command_line() {
    let write = std::env::var_os("HUBMETER_WRITE").is_some();
    for (name, text) in generated() {
        let path = dir().join(name);
        if write {
            fs::write(&path, text).unwrap();
        } else {
            let same = fs::read_to_string(&path).is_ok_and(|there| there == text);
            assert!(
                same,
                "{name} is out of date: HUBMETER_WRITE=1 cargo test -p hubmeter-collector --lib completions"
            );
        }
    }
}

#[test]
fn bash_completes_with_them() {
    let script = format!(
        "source '{}'; COMP_WORDS=(hubmeter-collector cull --dry); COMP_CWORD=2; \
         _hubmeter__collector hubmeter-collector --dry cull; echo \"${{COMPREPLY[@]}}\"",
        dir().join("hubmeter-collector").display()
    );
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "--dry-run",
        "{output:?}"
    );
}
