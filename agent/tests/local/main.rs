//! The local socket, by raw HTTP as a meter would speak it.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod socket;

use std::{path::PathBuf, sync::Arc};

use hubmeter_agent::{
    board::{Board, LinkState, LinkStatus, Notice, Reading},
    local::{Local, place::Place, serve::STREAM_READERS_MAX},
    meter::Figures,
    sample::{MemorySource, Sample, WallTime, Workload, WorkloadKind, WorkloadState},
    workload::told::{TOLD_BODY_BYTES_MAX, Told},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::mpsc,
};

/// A served board.
struct Served {
    board: Arc<Board>,
    told: mpsc::Receiver<Told>,
    path: PathBuf,
    _dir: TempDir,
}

impl Served {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::at(dir.path().join("a.sock"));
        Self::at(Local::bind(place).unwrap(), dir)
    }

    fn at(local: Local, dir: TempDir) -> Self {
        let path = local.path().to_owned();
        let board = Arc::new(Board::new(LinkStatus {
            state: LinkState::Connecting,
            collector: Some("grpcs://hub:1".to_owned()),
            ..LinkStatus::default()
        }));
        let (sender, told) = mpsc::channel(1);
        tokio::spawn(local.serve(Arc::clone(&board), sender));
        Self {
            board,
            told,
            path,
            _dir: dir,
        }
    }

    fn show(&self, mono_ms: u64) {
        let figures = Figures {
            momentum_bytes: Some(-5),
            ..Figures::default()
        };
        self.board.show(Reading {
            sample: sample(mono_ms),
            figures,
        });
    }

    async fn connect(&self) -> BufReader<UnixStream> {
        BufReader::new(UnixStream::connect(&self.path).await.unwrap())
    }

    /// Status and body of one request.
    async fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        let mut stream = self.connect().await;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // An answer may come before all of a refused body has gone.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, b"").await
    }

    /// A reader of the stream, past the head.
    async fn follow(&self) -> BufReader<UnixStream> {
        let mut stream = self.connect().await;
        stream
            .write_all(b"GET /v1/stream HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            assert!(stream.read_line(&mut line).await.unwrap() > 0);
            if line.starts_with("HTTP/1.1") {
                assert!(line.contains("200"), "{line}");
            }
        }
        stream
    }
}

/// The next line of a chunked stream, each line a chunk.
async fn next_line(stream: &mut BufReader<UnixStream>) -> Value {
    let mut lines = [const { String::new() }; 3];
    for line in &mut lines {
        assert!(stream.read_line(line).await.unwrap() > 0);
    }
    serde_json::from_str(&lines[1]).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn notice(episode: &str, cleared: bool) -> Notice {
    Notice {
        episode: episode.to_owned(),
        rule: "near_limit".to_owned(),
        severity: "warning",
        text: "close".to_owned(),
        workload_id: None,
        cleared,
        stops_at: Some(WallTime(1_795_298_176_000)),
        to_limit_ms: Some(90_500),
        trend_bytes_per_second: None,
    }
}

fn sample(mono_ms: u64) -> Sample {
    let kernel = Workload {
        kind: WorkloadKind::Kernel,
        id: "k1".into(),
        name: "python3".into(),
        pid: 7,
        memory_used_bytes: Some(1),
        rss_bytes: 1,
        pss_bytes: None,
        cpu_millis: 1,
        cpu_cores: None,
        processes: 1,
        threads: 1,
        notebook: Some("a.ipynb".into()),
        state: Some(WorkloadState::Busy),
        idle_ms: Some(1_500),
        job: None,
        read_bytes: None,
        written_bytes: None,
        remote: false,
    };
    Sample {
        time: WallTime(1_795_298_176_000),
        interval_ms: Some(5_000),
        memory_used_bytes: 1 << 30,
        memory_working_set_bytes: None,
        memory_source: MemorySource::Cgroup1,
        memory_age_ms: 0,
        memory_limit_bytes: Some(1 << 31),
        memory_limit_source: Some("env".into()),
        memory_limit_enforced: false,
        memory_limit_shared: false,
        rss_bytes: 1 << 30,
        pss_bytes: None,
        swap_bytes: None,
        unattributed_bytes: None,
        cpu_millis: 1,
        cpu_cores: None,
        processes: 1,
        threads: 1,
        workloads: vec![kernel],
        mono_ms,
        wall_ms: mono_ms,
        burst: false,
        oom_kills: None,
        memory_guarantee_bytes: None,
        cpu_limit_millicores: None,
        cpu_guarantee_millicores: None,
        memory_limit_used_bytes: None,
        memory_corrected_bytes: 0,
        cpu_may_miss: false,
        processes_beyond: 0,
        vitals: hubmeter_agent::sample::vitals::Vitals::default(),
        ended: Vec::new(),
    }
}

#[tokio::test]
async fn before_the_first_tick_there_is_no_sample_but_the_agent_is_well() {
    let served = Served::start();
    let (status, body) = served.get("/v1/sample").await;
    assert_eq!((status, json(&body)["status"].as_u64()), (503, Some(503)));
    assert_eq!(served.get("/healthz").await.0, 200);
    assert_eq!(
        json(&served.get("/v1/recent").await.1)["items"],
        Value::Array(Vec::new())
    );
}

#[tokio::test]
async fn the_sample_has_the_contracts_fields_and_those_of_the_meter() {
    let served = Served::start();
    served.show(5_000);
    let (status, body) = served.get("/v1/sample").await;
    assert_eq!(status, 200);
    let sample = json(&body);
    assert_eq!(sample["memory_used_bytes"], 1 << 30);
    assert_eq!(sample["memory_source"], "cgroup1");
    assert_eq!(sample["momentum_bytes"], -5);
    for unknown in [
        "trend_bytes_per_second",
        "seconds_to_limit",
        "seconds_to_limit_low",
        "seconds_to_limit_high",
        "pss_bytes",
        "swap_bytes",
    ] {
        assert_eq!(sample.get(unknown), Some(&Value::Null), "{unknown}");
    }
    assert_eq!(sample["workloads"][0]["notebook"], "a.ipynb");
    assert_eq!(sample["workloads"][0]["state"], "busy");
    assert_eq!(sample["workloads"][0]["idle_seconds"], 1.5);
    assert_eq!(sample["link"]["state"], "connecting");
    assert_eq!(sample["link"]["collector"], "grpcs://hub:1");
    assert!(sample["agent"]["rss_bytes"].as_u64().unwrap() > 100_000);
    assert!(sample["agent"]["cpu_millis"].is_u64());
    assert!(sample["agent"]["version"].is_string());
}

#[tokio::test]
async fn recent_is_oldest_first() {
    let served = Served::start();
    for tick in 1..=3 {
        served.show(tick * 5_000);
    }
    let recent = json(&served.get("/v1/recent").await.1);
    assert_eq!(recent["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn the_stream_starts_with_what_is_and_goes_on_with_what_comes() {
    let served = Served::start();
    served.show(5_000);
    served.board.notify(notice("old", false));
    let mut stream = served.follow().await;
    let first = next_line(&mut stream).await;
    assert_eq!(
        (&first["type"], &first["data"]["rss_bytes"]),
        (&"sample".into(), &(1 << 30).into())
    );
    assert_eq!(next_line(&mut stream).await["data"]["episode"], "old");
    served.show(10_000);
    assert_eq!(next_line(&mut stream).await["type"], "sample");
    served.board.notify(notice("new", true));
    let line = next_line(&mut stream).await;
    assert_eq!(line["type"], "notice");
    assert_eq!(line["data"]["cleared"], true);
    assert_eq!(line["data"].get("workload_id"), Some(&Value::Null));
}

#[tokio::test]
async fn a_reader_that_sleeps_holds_nothing_back_and_wakes_to_the_newest() {
    let served = Served::start();
    served.show(1);
    let mut stream = served.follow().await;
    for tick in 2..50_000u64 {
        let mut sample = sample(tick);
        sample.cpu_millis = tick;
        served.board.show(Reading {
            sample,
            figures: Figures::default(),
        });
        if tick % 10 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let mut lines = 0;
    loop {
        lines += 1;
        if next_line(&mut stream).await["data"]["cpu_millis"] == 49_999 {
            break;
        }
    }
    assert!(lines < 5_000, "{lines} lines were kept for a sleeper");
}

#[tokio::test]
async fn one_reader_too_many_is_told_so_and_a_place_comes_free() {
    let served = Served::start();
    served.show(1);
    let mut readers = Vec::new();
    for _ in 0..STREAM_READERS_MAX {
        readers.push(served.follow().await);
    }
    let (status, body) = served.get("/v1/stream").await;
    assert_eq!(status, 503);
    assert!(body.contains("16 readers"), "{body}");
    drop(readers);
    let freed = async {
        loop {
            let mut stream = served.connect().await;
            stream
                .write_all(b"GET /v1/stream HTTP/1.1\r\nhost: a\r\n\r\n")
                .await
                .unwrap();
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            if line.contains("200") {
                break;
            }
        }
    };
    freed.await;
}

#[tokio::test]
async fn a_kernel_elsewhere_is_shown_with_nothing_measured() {
    let served = Served::start();
    let mut sample = sample(5_000);
    sample.workloads.push(Workload {
        id: "far".into(),
        pid: 0,
        memory_used_bytes: None,
        rss_bytes: 0,
        cpu_millis: 0,
        processes: 0,
        threads: 0,
        remote: true,
        ..sample.workloads[0].clone()
    });
    served.board.show(Reading {
        sample,
        figures: Figures::default(),
    });
    let shown = json(&served.get("/v1/sample").await.1);
    let [here, far] = [0, 1].map(|at| shown["workloads"][at].clone());
    assert_eq!(
        (&here["remote"], &here["rss_bytes"]),
        (&false.into(), &1.into())
    );
    assert_eq!(
        (&far["remote"], &far["processes"]),
        (&true.into(), &0.into())
    );
    for unknown in [
        "memory_used_bytes",
        "rss_bytes",
        "pss_bytes",
        "cpu_millis",
        "cpu_cores",
        "threads",
        "pid",
    ] {
        assert!(far[unknown].is_null(), "{unknown}: {far}");
    }
    assert_eq!(far["state"], "busy");
}

#[tokio::test]
async fn what_the_server_extension_tells_is_passed_on() {
    let mut served = Served::start();
    let body = br#"{"kernels":[{"id":"k1","pid":7,"name":"python3","notebook":"a/b.ipynb","state":"busy","idle_ms":0}],"terminals":[{"name":"1","pid":8}]}"#;
    assert_eq!(served.ask("PUT", "/v1/kernels", body).await.0, 204);
    let told = served.told.recv().await.unwrap();
    assert_eq!(
        (told.kernels[0].pid, told.terminals[0].pid),
        (Some(7), Some(8))
    );
}

#[tokio::test]
async fn a_body_that_is_wrong_or_too_large_is_refused_with_its_field_or_bound() {
    let served = Served::start();
    let (status, body) = served
        .ask("PUT", "/v1/kernels", b"{\"kernels\":[{\"pid\":1}]}")
        .await;
    assert_eq!(status, 400);
    assert!(body.contains("`id`"), "{body}");
    let (status, body) = served
        .ask("PUT", "/v1/kernels", &vec![b' '; TOLD_BODY_BYTES_MAX + 1])
        .await;
    assert_eq!(status, 413);
    assert!(body.contains("262144"), "{body}");
    let many = format!(
        "{{\"terminals\":[{}]}}",
        vec!["{\"name\":\"1\"}"; 300].join(",")
    );
    let (status, body) = served.ask("PUT", "/v1/kernels", many.as_bytes()).await;
    assert_eq!(status, 413);
    assert!(body.contains("terminals"), "{body}");
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed_is_said_as_a_problem() {
    let served = Served::start();
    for (method, path, status) in [
        ("GET", "/", 404),
        ("POST", "/v1/sample", 405),
        ("GET", "/v1/kernels", 405),
    ] {
        let (got, body) = served.ask(method, path, b"").await;
        assert_eq!(
            (got, json(&body)["status"].as_u64()),
            (status, Some(status.into())),
            "{method} {path}"
        );
    }
}
