//! What runs in front in a terminal.
//!
//! A shell that waits for a person is in front of its terminal itself; while a program runs, the
//! shell puts the program's process group there. What runs behind counts by what it does.

use crate::sample::process::Reading;

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
    /// What is in front in the terminal of `shell`, which is one of the server's `readings`.
    ///
    /// A process is read again when it ran, so it knows what was in front when it ran last. Who
    /// moves the front is the innermost shell: that one knows.
    pub(crate) fn of(
        shell: &'a Reading,
        readings: impl Iterator<Item = &'a Reading> + Clone,
    ) -> Self {
        let waits = |reading: &&Reading| reading.identity.waits_for_a_person;
        let here = readings.clone().filter(waits);
        let here = here.filter(|reading| reading.terminal == shell.terminal);
        let innermost = here.max_by_key(|reading| reading.key);
        let at = innermost.filter(|at| at.key > shell.key).unwrap_or(shell);
        let Some(front) = at.front_group else {
            return Self::Unknown;
        };
        if front == at.group {
            return Self::Prompt;
        }
        let Some(leader) = readings.clone().find(|reading| reading.key.pid == front) else {
            return Self::Job(None);
        };
        let program = leader.identity.program.as_str();
        // A shell in front of the innermost one is another that waits.
        if waits(&leader) || MULTIPLEXERS.contains(&program) {
            return Self::Prompt;
        }
        Self::Job(Some(program))
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
        Front::of(&processes[0], processes.iter())
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
    fn what_an_outer_shell_saw_last_is_not_believed_where_an_inner_one_knows_better() {
        // The outer one was looked at while the inner one's job, since gone or stopped, ran.
        let mut shells = vec![
            process(7, 7, Some(11), &["bash"]),
            process(9, 9, Some(9), &["bash", "-i"]),
        ];
        assert_eq!(front(&shells), Front::Prompt);
        shells.push(process(11, 11, Some(11), &["sleep", "9"]));
        assert_eq!(front(&shells), Front::Prompt);
        // Another terminal's shell says nothing of this one.
        shells[1].terminal = Some("pts/1".to_owned());
        assert_eq!(front(&shells), Front::Job(Some("sleep")));
    }

    #[test]
    fn a_multiplexers_client_is_no_job_and_neither_is_a_shell_that_another_let_in_front() {
        let tmux = [
            process(7, 7, Some(9), &["bash"]),
            process(9, 9, Some(9), &["tmux", "attach"]),
        ];
        assert_eq!(front(&tmux), Front::Prompt);
        let suspended = [
            process(7, 7, Some(7), &["bash"]),
            process(9, 9, Some(7), &["bash"]),
        ];
        assert_eq!(front(&suspended), Front::Prompt);
    }
}
