//! A real Alertmanager (Debian's `prometheus-alertmanager`), where there is one:
//! `HUBMETER_ALERTMANAGER`, else by its name on PATH.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::*;

/// How long it may take to start.
const TRIES: usize = 400;

struct Alertmanager {
    child: Child,
    addr: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Option<PathBuf> {
    let named = std::env::var_os("HUBMETER_ALERTMANAGER").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|dir| dir.join("prometheus-alertmanager"));
    named.or_else(|| found.find(|file| file.is_file()))
}

async fn start() -> Option<Alertmanager> {
    let Some(program) = program() else {
        eprintln!("did not run: no prometheus-alertmanager (apt install prometheus-alertmanager)");
        return None;
    };
    // What asks for it here comes before what would set this up.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("alertmanager.yml");
    let text = "route:\n  receiver: nobody\nreceivers:\n  - name: nobody\n";
    std::fs::File::create(&config)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .unwrap();
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = free.local_addr().unwrap();
    drop(free);
    let child = Command::new(program)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.path={}", dir.path().display()))
        .arg(format!("--web.listen-address={addr}"))
        .arg("--cluster.listen-address=")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let alertmanager = Alertmanager {
        child,
        addr,
        _dir: dir,
    };
    for _ in 0..TRIES {
        let ready = reqwest::get(format!("http://{addr}/-/ready")).await;
        if ready.is_ok_and(|answer| answer.status().is_success()) {
            return Some(alertmanager);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("alertmanager does not start");
}

async fn alerts(addr: SocketAddr) -> Vec<serde_json::Value> {
    let url = format!("http://{addr}/api/v2/alerts");
    reqwest::get(url).await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn an_alertmanager_shows_an_open_episode_and_ends_it_when_it_is_over() {
    let Some(alertmanager) = start().await else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let clock = Arc::new(ManualClock::at(now_ms));
    let config = NoticeConfig {
        webhooks: vec![WebhookConfig {
            url: format!("http://{}/", alertmanager.addr),
            allow_private: true,
            body: WebhookBody::Alertmanager,
        }],
        ..NoticeConfig::default()
    };
    let outbox = open(dir.path(), &config, &clock);
    let name = "ann.o'x@x.org";
    let verdict = Verdict {
        since_ms: now_ms - 1_000,
        updated_ms: now_ms,
        ..runaway("e1", name)
    };
    outbox.observe(std::slice::from_ref(&verdict)).unwrap();
    deliver(&outbox).await;
    let shown = alerts(alertmanager.addr).await;
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert_eq!(shown[0]["labels"]["alertname"], "hubmeter_runaway_memory");
    assert_eq!(shown[0]["labels"]["user"], name);
    let summary = shown[0]["annotations"]["summary"].as_str().unwrap();
    assert!(summary.contains("grows 50 MiB/s"), "{summary}");
    // It is told again before it is taken for over, however often.
    for _ in 0..3 {
        clock.advance(10 * 60 * 1000);
        deliver(&outbox).await;
    }
    assert_eq!(outbox.stats().sent, 4);
    assert_eq!(alerts(alertmanager.addr).await.len(), 1);
    let over = Verdict {
        cleared_ms: Some(now_ms - 500),
        ..verdict
    };
    outbox.observe(&[over]).unwrap();
    deliver(&outbox).await;
    assert_eq!(outbox.stats().sent, 5);
    assert_eq!(alerts(alertmanager.addr).await.len(), 0);
    clock.advance(10 * 60 * 1000);
    deliver(&outbox).await;
    assert_eq!(
        alerts(alertmanager.addr).await.len(),
        0,
        "what is over is not told again"
    );
}
