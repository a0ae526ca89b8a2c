//! VictoriaMetrics: a server of its own, fed over HTTP, stopped when it has merged.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{Cost, bytes_of, children_cpu_seconds};
use crate::{
    http, ports,
    process::Daemon,
    progress::now,
    stop::{self, GLANCE},
    workspace::Workspace,
};

/// Time to start, and time for its files to stop changing.
const PATIENCE: Duration = Duration::from_secs(60);

/// Its files are at rest when they were the same for this long: it flushes every few seconds.
const REST: Duration = Duration::from_secs(8);

/// Starts it on an empty folder, gives it the trace, stops it.
pub(super) fn store(space: &Workspace, folder: &Path, name: &str) -> Result<Cost> {
    let data = folder.join(format!("{name}-victoria"));
    let port = ports::free_one()?;
    let before = children_cpu_seconds()?;
    let mut command = Command::new("victoria-metrics");
    command
        .arg(format!("-storageDataPath={}", data.display()))
        .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
        .args(["-retentionPeriod=100y", "-loggerLevel=ERROR"]);
    let mut server = Daemon::start(&space.logs, &format!("victoria-metrics-{name}"), command)?;
    let begun = now();
    while !http::listens(port) {
        server.check()?;
        stop::check()?;
        if begun.elapsed() > PATIENCE {
            bail!(
                "victoria-metrics does not listen; {}",
                server.log().display()
            );
        }
        thread::sleep(GLANCE);
    }
    post(port, &folder.join(format!("{name}.prom")))?;
    for path in ["/internal/force_flush", "/internal/force_merge"] {
        http::status(port, path);
    }
    rest(&data)?;
    server.stop(PATIENCE);
    Ok(Cost {
        bytes: bytes_of(&data.join("data"))? + bytes_of(&data.join("indexdb"))?,
        cpu_seconds: children_cpu_seconds()? - before,
    })
}

fn post(port: u16, file: &Path) -> Result<()> {
    let mut body = File::open(file)?;
    let length = fs::metadata(file)?.len();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    write!(
        stream,
        "POST /api/v1/import/prometheus HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    io::copy(&mut body, &mut stream)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let line = answer
        .lines()
        .next()
        .context("victoria-metrics says nothing")?;
    match line.contains(" 204") {
        true => Ok(()),
        false => bail!("victoria-metrics takes no samples: {line}"),
    }
}

/// Waits until its files stay as they are.
fn rest(data: &Path) -> Result<()> {
    let begun = now();
    let (mut since, mut before) = (now(), 0);
    while since.elapsed() < REST && begun.elapsed() < PATIENCE {
        stop::check()?;
        // A part that was just merged away is no reason to fail.
        let bytes = bytes_of(&data.join("data")).unwrap_or(0);
        if bytes != before {
            (since, before) = (now(), bytes);
        }
        thread::sleep(GLANCE);
    }
    Ok(())
}
