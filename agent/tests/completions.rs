//! Shell completions are written ahead, into `deploy/completions/`: in the binary they would take
//! more than the rest of the command line. Here they are held to be those of the command line;
//! with `HUBMETER_WRITE=1` they are written.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use clap::CommandFactory;
use clap_complete::{Shell, generate};
use hubmeter_agent::config::Cli;

fn dir() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/completions")
}

/// By the file names that each shell looks for.
fn generated() -> BTreeMap<&'static str, String> {
    [
        ("hubmeter-agent", Shell::Bash),
        ("_hubmeter-agent", Shell::Zsh),
        ("hubmeter-agent.fish", Shell::Fish),
    ]
    .into_iter()
    .map(|(name, shell)| {
        let mut text = Vec::new();
        generate(shell, &mut Cli::command(), "hubmeter-agent", &mut text);
        // Generators leave blanks at line ends, which nobody needs.
        let text = String::from_utf8(text).unwrap();
        // In 4.6.11 the one for bash takes the dash in our name for a subcommand's, in half its lines.
        let text = text.replace("hubmeter__subcmd__agent", "hubmeter__agent");
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
            fs::create_dir_all(dir()).unwrap();
            fs::write(&path, text).unwrap();
        } else {
            let same = fs::read_to_string(&path).is_ok_and(|there| there == text);
            assert!(
                same,
                "{name} is out of date: HUBMETER_WRITE=1 cargo test -p hubmeter-agent --test completions"
            );
        }
    }
}

#[test]
fn bash_completes_with_them() {
    let script = format!(
        "source '{}'; COMP_WORDS=(hubmeter-agent run --tok); COMP_CWORD=2; \
         _hubmeter__agent hubmeter-agent --tok run; echo \"${{COMPREPLY[@]}}\"",
        dir().join("hubmeter-agent").display()
    );
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "--token-file",
        "{output:?}"
    );
}
