//! What runs in front in a terminal.
//!
//! A shell that waits for a person is in front of its terminal itself; while a program runs, the
//! shell puts the program's process group there. What runs behind counts by what it does.

use crate::sample::process::Reading;

/// Shells in shells that are looked through.
const SHELLS_DEEP_MAX: usize = 8;

/// Programs that only show other terminals: what runs in those is somewhere else.
const MULTIPLEXERS: [&str; 5] = ["tmux", "screen", "zellij", "abduco", "dtach"];

/// What is in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front<'a> {
    /// Nobody says.
    Unknown,
    /// A shell that waits for a person.
    Prompt,
    /// A program; `None` where its first process is gone and others of its group go on.
    Job(Option<&'a str>),
}

// === impl Front ===

impl<'a> Front<'a> {
    /// What is in front in the terminal of `shell`; `find` knows the server's processes by pid.
    pub(crate) fn of(shell: &'a Reading, find: impl Fn(u32) -> Option<&'a Reading>) -> Self {
        let mut at = shell;
        for _ in 0..SHELLS_DEEP_MAX {
            let Some(front) = at.front_group else {
                return Self::Unknown;
            };
            if front == at.group {
                return Self::Prompt;
            }
            let Some(leader) = find(front) else {
                return Self::Job(None);
            };
            if MULTIPLEXERS.contains(&leader.identity.program.as_str()) {
                return Self::Prompt;
            }
            if !leader.identity.waits_for_a_person || leader.key == at.key {
                return Self::Job(Some(&leader.identity.program));
            }
            at = leader;
        }
        Self::Job(None)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sample::{kernels::Identity, process::Key};

    fn process(pid: u32, group: u32, front: Option<u32>, arguments: &[&str]) -> Reading {
        let block = arguments.join("\0").into_bytes();
        Reading {
            key: Key {
                start_ticks: u64::from(pid),
                pid,
            },
            ppid: 1,
            threads: 1,
            rss_bytes: 1,
            shared_bytes: 0,
            held_bytes: 1,
            own_ns: 0,
            reaped_ns: 0,
            io: None,
            zombie: false,
            signal: None,
            terminal: Some("pts/0".to_owned()),
            group,
            front_group: front,
            identity: Arc::new(Identity::of(&block, b"", "x".to_owned())),
            pss: None,
        }
    }

    fn front(processes: &[Reading]) -> Front<'_> {
        Front::of(&processes[0], |pid| {
            processes.iter().find(|reading| reading.key.pid == pid)
        })
    }

    #[test]
    fn a_shell_at_its_prompt_is_no_job_and_a_program_before_it_is() {
        assert_eq!(front(&[process(7, 7, Some(7), &["-bash"])]), Front::Prompt);
        assert_eq!(front(&[process(7, 7, None, &["bash"])]), Front::Unknown);
        let rsync = [
            process(7, 7, Some(9), &["bash"]),
            process(9, 9, Some(9), &["/usr/bin/rsync", "-a", "s3cret"]),
        ];
        assert_eq!(front(&rsync), Front::Job(Some("rsync")));
        // `cat x | sort`: the first has ended, its group goes on.
        assert_eq!(front(&rsync[..1]), Front::Job(None));
    }

    #[test]
    fn a_shell_in_a_shell_is_looked_through_and_a_script_is_a_job() {
        let nested = |inner: &[&str], front| {
            [
                process(7, 7, Some(9), &["zsh", "-l"]),
                process(9, 9, Some(front), inner),
                process(11, 11, Some(11), &["sleep", "9"]),
            ]
        };
        assert_eq!(front(&nested(&["bash", "-i"], 9)), Front::Prompt);
        assert_eq!(
            front(&nested(&["bash", "--rcfile", "/x/rc"], 11)),
            Front::Job(Some("sleep"))
        );
        for script in [
            &["bash", "train.sh"][..],
            &["bash", "-lc", "make all"],
            &["sh", "-ec", "x"],
        ] {
            let processes = nested(script, 9);
            assert!(
                matches!(front(&processes), Front::Job(Some(_))),
                "{script:?}"
            );
        }
    }

    #[test]
    fn a_multiplexers_client_is_no_job_and_a_circle_of_shells_ends() {
        let tmux = [
            process(7, 7, Some(9), &["bash"]),
            process(9, 9, Some(9), &["tmux", "attach"]),
        ];
        assert_eq!(front(&tmux), Front::Prompt);
        let circle = [
            process(7, 7, Some(9), &["bash"]),
            process(9, 9, Some(7), &["bash"]),
        ];
        assert_eq!(front(&circle), Front::Job(None));
    }
}
