//! `cargo xtask capture`: one session of the link as Wireshark's own dissectors read it, with
//! nothing of ours but `link.proto`. Needs tshark and the right to capture on the loopback.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{
    process,
    progress::say,
    stop::{self, GLANCE},
    swarm,
    workspace::Workspace,
};

/// Messages shown field by field when nobody says how many: Hello, Welcome, a report, its receipt.
const DETAILED: usize = 4;

/// How long the session is.
const SECONDS: u32 = 5;

/// What tshark says when it listens.
const LISTENS: &str = "Capturing on";

/// Time for it to say so, and to write what it has at the end.
const PATIENCE: Duration = Duration::from_secs(15);

/// Settings of `cargo xtask capture`.
#[derive(Args, Debug)]
pub(crate) struct Capture {
    /// Messages shown field by field
    #[arg(long, value_name = "N", default_value_t = DETAILED)]
    detailed: usize,
}

/// Captures an agent's session in the clear and prints it as tshark reads it.
pub(crate) fn run(args: &Capture) -> Result<()> {
    if process::on_path("tshark").is_none() {
        bail!("tshark is not on PATH: apt install tshark");
    }
    let space = Workspace::here()?;
    let program = swarm::build(&space)?;
    fs::create_dir_all(&space.logs)?;
    let file = space.target.join("link.pcapng");
    let port = free_port()?;
    let mut listener = listen(&space, &file, port)?;
    let session = Command::new(&program)
        .args(["--agents", "1", "--over", "plain", "--interval", "1"])
        .args(["--ramp", "0", "--for", &SECONDS.to_string()])
        .args(["--port", &port.to_string()])
        .stdout(Stdio::null())
        .status();
    thread::sleep(GLANCE);
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(listener.id().cast_signed()),
        nix::sys::signal::Signal::SIGINT,
    )?;
    listener.wait()?;
    if !session?.success() {
        bail!("the session failed");
    }
    say(&read(&space, &file, port, &[])?);
    let fields = read(&space, &file, port, &["-O", "protobuf"])?;
    for message in fields.split("\n\n").take(args.detailed) {
        let own = message.find("Protocol Buffers: ");
        say(message[own.unwrap_or(0)..].trim_end());
        say("");
    }
    say(&format!("the capture is {}", file.display()));
    Ok(())
}

/// Starts to capture, and waits until it does.
fn listen(space: &Workspace, file: &Path, port: u16) -> Result<Child> {
    let log = space.logs.join("tshark.log");
    let mut child = Command::new("tshark")
        .args(["-i", "lo", "-f", &format!("tcp port {port}"), "-w"])
        .arg(file)
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log)?)
        .spawn()
        .context("cannot start tshark")?;
    for _ in 0..PATIENCE.as_millis() / GLANCE.as_millis() {
        stop::check()?;
        if fs::read_to_string(&log)?.contains(LISTENS) {
            // It says so a moment before it does.
            thread::sleep(20 * GLANCE);
            return Ok(child);
        }
        if child.try_wait()?.is_some() {
            break;
        }
        thread::sleep(GLANCE);
    }
    let _ = child.kill();
    bail!("tshark does not capture: {}", process::last_lines(&log, 5))
}

/// The link's messages in `file`, as tshark prints them with `how`.
fn read(space: &Workspace, file: &Path, port: u16, how: &[&str]) -> Result<String> {
    let protos = space.root.join("proto");
    let out = Command::new("tshark")
        .arg("-r")
        .arg(file)
        .args(["-d", &format!("tcp.port=={port},http2"), "-Y", "protobuf"])
        .args(["-o", "protobuf.preload_protos:TRUE", "-o"])
        .arg(format!(
            "uat:protobuf_search_paths:\"{}\",\"TRUE\"",
            protos.display()
        ))
        .args(how)
        .output()
        .context("cannot start tshark")?;
    if !out.status.success() {
        bail!("tshark: {}", String::from_utf8_lossy(&out.stderr));
    }
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    if !text.contains("hubmeter.v1.") && how.is_empty() {
        bail!("tshark found no message of the link in {}", file.display());
    }
    Ok(text)
}

fn free_port() -> Result<u16> {
    let held = TcpListener::bind("127.0.0.1:0").context("no free port on 127.0.0.1")?;
    Ok(held.local_addr()?.port())
}
