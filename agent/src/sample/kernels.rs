//! What a process says about itself: a kernel, a terminal's shell, a Jupyter server, an agent.
//!
//! Read once per program a process runs. Arguments and environment stay in here: only ids and
//! file names leave, never a command line, never a variable.

use std::path::Path;

use super::{faults, file::read_strings};

/// Characters of a kernel id: a UUID in Jupyter, longer and freer elsewhere.
const KERNEL_ID_CHARS_MAX: usize = 128;

/// Bytes of a notebook's path: the longest path Linux has. Whoever sets a longer one has no
/// notebook.
const SESSION_BYTES_MAX: usize = 4096;

/// What one process says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// From `kernel-<id>.json` in any of its arguments.
    pub kernel_id: Option<String>,
    /// `JPY_SESSION_NAME`: path of the notebook at the kernel's start, inherited by its children.
    pub session: Option<String>,
    /// Started by Jupyter as a terminal's shell, or below one.
    pub terminal_env: bool,
    /// Runs a Jupyter server.
    pub jupyter: bool,
    /// A shell that was given nothing to run.
    pub waits_for_a_person: bool,
    /// The program's short name as the kernel keeps it.
    pub name: String,
    /// What a person calls the program: of a script its name, not its interpreter's.
    pub program: String,
}

/// Strings of a process' memory that the kernel separates by NUL.
pub(crate) fn strings(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|&byte| byte == 0).filter(|s| !s.is_empty())
}

/// The value of a variable in an environment block.
pub(crate) fn variable<'a>(environ: &'a [u8], name: &str) -> Option<&'a [u8]> {
    strings(environ).find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

// === impl Identity ===

impl Identity {
    /// Reads what the process under `proc_dir` says, and whether some of that could not be read.
    /// That is counted, and as if not said: other users' environments are not for us.
    pub(crate) fn read(proc_dir: &Path, name: String) -> (Self, bool) {
        let mut cut = false;
        let mut block = |name: &str| {
            let path = proc_dir.join(name);
            let read = read_strings(&path);
            cut |= read.is_err();
            faults::noted(&path, read).unwrap_or_default()
        };
        let (arguments, environ) = (block("cmdline"), block("environ"));
        (Self::of(&arguments, &environ, name), cut)
    }

    /// The same from the two blocks.
    pub(crate) fn of(arguments: &[u8], environ: &[u8], name: String) -> Self {
        let arguments: Vec<String> = strings(arguments)
            .map(|argument| String::from_utf8_lossy(argument).into_owned())
            .collect();
        let session = variable(environ, "JPY_SESSION_NAME")
            .filter(|path| !path.is_empty() && path.len() <= SESSION_BYTES_MAX)
            .map(|path| String::from_utf8_lossy(path).into_owned());
        Self {
            kernel_id: arguments.iter().find_map(|argument| kernel_id(argument)),
            session,
            terminal_env: variable(environ, "TERM").is_some()
                && (variable(environ, "JUPYTER_SERVER_URL").is_some()
                    || variable(environ, "JUPYTER_SERVER_ROOT").is_some()),
            jupyter: is_jupyter_server(&arguments),
            waits_for_a_person: is_shell_alone(&arguments),
            program: program(&arguments).unwrap_or_else(|| name.clone()),
            name,
        }
    }
}

/// The id in `kernel-<id>.json`, wherever in the argument the file stands: kernelspecs put it
/// after `-f`, behind `=`, bare at the end, or inside a shell's command.
fn kernel_id(argument: &str) -> Option<String> {
    const START: &str = "kernel-";
    const END: &str = ".json";
    argument.match_indices(START).find_map(|(at, _)| {
        let before = argument.get(..at)?.chars().next_back();
        if before.is_some_and(is_id_char) {
            return None;
        }
        let rest = argument.get(at + START.len()..)?;
        let id_len = rest.find(|c| !is_id_char(c)).unwrap_or(rest.len());
        let id = rest.get(..id_len)?;
        // The dot of ".json" is no id character, so the id ends right before it.
        let after = rest.get(id_len..)?.strip_prefix(END)?;
        let whole = !after.starts_with(is_id_char);
        (whole && !id.is_empty() && id.len() <= KERNEL_ID_CHARS_MAX).then(|| id.to_owned())
    })
}

fn is_id_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// The name of what runs: the program's, or the script's or module's that an interpreter runs. Of
/// the arguments nothing else is looked at, and only what reads like a name is taken.
fn program(arguments: &[String]) -> Option<String> {
    const INTERPRETERS: [&str; 9] = [
        "python", "pypy", "node", "ruby", "perl", "bash", "sh", "dash", "Rscript",
    ];
    /// Options of theirs whose value is another argument.
    const WITH_VALUE: [&str; 5] = ["-W", "-X", "-r", "--require", "-O"];
    let base = |argument: &str| argument.rsplit('/').next().unwrap_or_default().to_owned();
    let first = base(arguments.first()?);
    // `python3.12` is Python; a login shell's name starts with a dash.
    let plain = first.trim_start_matches('-');
    let plain = plain.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let mut script = None;
    if INTERPRETERS.contains(&plain) {
        let mut rest = arguments.iter().skip(1);
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                // What follows is a program's text, not its name.
                "-c" | "-e" | "-p" => break,
                "-m" => {
                    script = rest.next().map(|module| module.to_owned());
                    break;
                }
                option if WITH_VALUE.contains(&option) => drop(rest.next()),
                option if option.starts_with('-') => {}
                path => {
                    let name = base(path);
                    let stem = name
                        .rsplit_once('.')
                        .map_or(name.as_str(), |(stem, _)| stem);
                    script = Some(stem.to_owned());
                    break;
                }
            }
        }
    }
    let name = |name: String| is_name(&name).then_some(name);
    script.and_then(name).or_else(|| name(plain.to_owned()))
}

/// Whether these arguments start a shell without a script or a command.
fn is_shell_alone(arguments: &[String]) -> bool {
    const SHELLS: [&str; 12] = [
        "bash", "sh", "dash", "ash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh", "xonsh", "nu",
    ];
    /// Options whose value is another argument.
    const WITH_VALUE: [&str; 5] = ["--rcfile", "--init-file", "-o", "+o", "-O"];
    let Some((program, rest)) = arguments.split_first() else {
        return false;
    };
    let base = program.rsplit('/').next().unwrap_or_default();
    if !SHELLS.contains(&base.trim_start_matches('-')) {
        return false;
    }
    let mut rest = rest.iter();
    while let Some(argument) = rest.next() {
        if WITH_VALUE.contains(&argument.as_str()) {
            rest.next();
        } else if argument.starts_with("--") {
            if argument == "--command" {
                return false;
            }
        } else if argument.starts_with('-') {
            if argument.contains('c') {
                return false;
            }
        } else {
            return false;
        }
    }
    true
}

fn is_name(text: &str) -> bool {
    const CHARS_MAX: usize = 64;
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
    !text.is_empty() && text.len() <= CHARS_MAX && text.chars().all(ok)
}

/// Whether these arguments start a Jupyter server, by any of its names.
pub(crate) fn is_jupyter_server(arguments: &[String]) -> bool {
    const PROGRAMS: [&str; 7] = [
        "jupyterhub-singleuser",
        "batchspawner-singleuser",
        "jupyter-labhub",
        "jupyter-lab",
        "jupyter-server",
        "jupyter-notebook",
        "jupyter-nbclassic",
    ];
    const MODULES: [&str; 7] = [
        "jupyterhub.singleuser",
        "jupyter_server",
        "jupyterlab",
        "jupyterlab.labhubapp",
        "notebook",
        "nbclassic",
        "batchspawner.singleuser",
    ];
    const SUBCOMMANDS: [&str; 5] = ["lab", "labhub", "server", "notebook", "nbclassic"];
    // The interpreter, its options and the script are at the front: what stands further back is
    // the program's own business (`grep jupyter-lab` in a terminal is no server).
    const FRONT: usize = 4;
    let base = |argument: &str| argument.rsplit('/').next().unwrap_or_default().to_owned();
    let interpreter = arguments
        .first()
        .is_some_and(|program| base(program).starts_with("python"));
    let front: Vec<String> = arguments.iter().take(FRONT).map(|a| base(a)).collect();
    front.iter().enumerate().any(|(at, argument)| {
        if at > 0 && !interpreter {
            return false;
        }
        let next = front.get(at + 1).map(String::as_str).unwrap_or_default();
        PROGRAMS.contains(&argument.as_str())
            || (argument == "jupyter" && SUBCOMMANDS.contains(&next))
            || (argument == "-m" && MODULES.contains(&next))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arguments: &[&str]) -> Identity {
        let mut block = arguments.join("\0").into_bytes();
        block.push(0);
        Identity::of(&block, b"", "x".to_owned())
    }

    #[test]
    fn every_kernelspec_style_of_naming_the_file_is_understood() {
        const ID: &str = "303cc6cc-1f7e-4b62-9a43-d41f2e6b0a11";
        let file = format!("/home/jo/.local/share/jupyter/runtime/kernel-{ID}.json");
        for arguments in [
            vec!["python", "-m", "ipykernel_launcher", "-f", &file],
            vec!["python", "-m", "ipykernel_launcher", &format!("--f={file}")],
            vec!["R", "--slave", "-e", "IRkernel::main()", "--args", &file],
            vec!["julia", "-i", "/opt/kernel.jl", &file],
            vec!["ark", "--connection_file", &file],
            vec!["bash", "-c", &format!("exec python -f '{file}' --quiet")],
            vec!["xpython", "-f", &format!("kernel-{ID}.json")],
            vec!["dotnet", "interactive", "jupyter", &file],
            vec!["bash_kernel", "-f", &file, "--quiet"],
            vec![
                "conda",
                "run",
                "-n",
                "x",
                "python",
                "-m",
                "ipykernel",
                "-f",
                &file,
            ],
            vec![
                "srun",
                "--pty",
                "python",
                "-m",
                "ipykernel",
                &format!("-f={file}"),
            ],
            vec!["bash", "-c", &format!("python -f {file}; echo over")],
        ] {
            assert_eq!(
                of(&arguments).kernel_id.as_deref(),
                Some(ID),
                "{arguments:?}"
            );
        }
    }

    #[test]
    fn what_only_looks_like_a_connection_file_is_none() {
        for argument in [
            "kernel-.json",
            "mykernel-1.json",
            "kernel-1.json5",
            "kernel-1.jsonx",
            "/kernel-dir/kernel.json",
            "kernel-a b.json",
        ] {
            assert_eq!(of(&["vi", argument]).kernel_id, None, "{argument}");
        }
        let in_folder = "/kernel-builds/run/kernel-7.json";
        assert_eq!(of(&["vi", in_folder]).kernel_id.as_deref(), Some("7"));
    }

    #[test]
    fn a_server_is_known_by_its_program_not_by_a_word_in_its_arguments() {
        let of = |arguments: &[&str]| of(arguments).jupyter;
        assert!(of(&[
            "/opt/v/bin/python3.12",
            "/opt/v/bin/jupyter-lab",
            "--port=1"
        ]));
        assert!(of(&["/usr/bin/python3", "-m", "jupyterhub.singleuser"]));
        assert!(of(&[
            "/usr/bin/python3",
            "-u",
            "/opt/bin/jupyterhub-singleuser"
        ]));
        assert!(of(&["/opt/bin/jupyterhub-singleuser", "--debug"]));
        assert!(!of(&["grep", "jupyter-lab"]));
        assert!(!of(&["python", "-m", "ipykernel_launcher", "-f", "x"]));
        assert!(!of(&["sh", "-c", "jupyter-lab"]));
    }

    #[test]
    fn a_program_is_called_by_its_script_and_nothing_else_of_its_arguments_is_named() {
        for (arguments, program) in [
            (
                vec!["/usr/lib/rstudio/bin/rserver", "--www-port=1"],
                "rserver",
            ),
            (
                vec![
                    "/usr/lib/code-server/lib/node",
                    "/usr/lib/code-server",
                    "--port",
                    "1",
                ],
                "code-server",
            ),
            (
                vec!["/opt/bin/python3.12", "/opt/bin/tensorboard", "--logdir=x"],
                "tensorboard",
            ),
            (
                vec!["python3", "-u", "-m", "streamlit", "run", "app.py"],
                "streamlit",
            ),
            (
                vec!["python", "-W", "ignore", "dash/app.py", "s3cret"],
                "app",
            ),
            (vec!["python", "-c", "token='s3cret'"], "python"),
            (vec!["bash", "-c", "exec s3cret"], "bash"),
            (vec!["-bash"], "bash"),
            (vec!["python", "a name with blanks.py"], "python"),
            (vec![""], "x"),
            (vec![], "x"),
        ] {
            assert_eq!(of(&arguments).program, program, "{arguments:?}");
        }
    }

    #[test]
    fn a_shell_waits_for_a_person_unless_it_was_given_something_to_run() {
        for arguments in [
            &["-bash"][..],
            &["/bin/bash", "-l"],
            &["zsh"],
            &["bash", "--rcfile", "/tmp/rc", "-i"],
            &["fish", "--login"],
        ] {
            assert!(of(arguments).waits_for_a_person, "{arguments:?}");
        }
        for arguments in [
            &["bash", "train.sh"][..],
            &["bash", "-c", "make"],
            &["sh", "-ec", "make"],
            &["bash", "-x", "train.sh"],
            &["python3"],
            &["vim", "a"],
            &[],
        ] {
            assert!(!of(arguments).waits_for_a_person, "{arguments:?}");
        }
    }

    #[test]
    fn the_session_and_the_terminal_come_from_the_environment() {
        let environ = b"PATH=/bin\0JPY_SESSION_NAME=/home/jo/a b.ipynb\0TERM=xterm\0JUPYTER_SERVER_URL=http://x\0";
        let identity = Identity::of(b"", environ, "bash".to_owned());
        assert_eq!(identity.session.as_deref(), Some("/home/jo/a b.ipynb"));
        assert!(identity.terminal_env);
        assert_eq!(variable(environ, "JPY_SESSION"), None);
    }
}
