//! A hub, a state and a site to ask.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use axum::{
    Json, Router,
    body::Body,
    extract::State as Extract,
    http::{HeaderMap, Request, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http_body_util::BodyExt;
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::sync::{broadcast, watch};
use tower::ServiceExt;

use crate::{
    clock::ManualClock,
    config::{self, Secret},
    fact::{
        Fact, HubServer, InstanceId, MemorySource, Sample, ServerKey, WorkloadKey, WorkloadKind,
        WorkloadSample,
    },
    history::{History, HistoryConfig, HistoryEntry, HistoryMode},
    hub::client::HubClient,
    inbox::{Inbox, journal::SqliteJournal},
    link::{
        doorman::Doorman,
        session::{Sessions, Settings},
        websocket::Carrier,
    },
    serve::{Authority, Identify, Listener, Serve, Site, auth, guard, live, query::Query, router},
    state::{Policy, State},
    stats::Stats,
    text::Label,
};

pub(super) const NOW_MS: i64 = 1_574_027_796_500; // 2019-11-17T21:56:36.500Z
pub(super) const PREFIX: &str = "/jh/services/hubmeter/";

/// No agent comes in here: a collector that is still starting.
fn closed_to_agents(clock: Arc<ManualClock>, stats: Stats) -> Carrier {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = SqliteJournal::open(dir.path()).expect("a journal");
    let (facts, _) = std::sync::mpsc::sync_channel(1);
    let (inbox, _) = Inbox::new(journal, facts, clock.clone(), stats.clone());
    let settings = Settings {
        streams_max: 1,
        interval: None,
        api_url: String::new(),
    };
    let sessions = Sessions::new(settings, inbox, clock, stats);
    Carrier::new(Doorman::Local, sessions)
}

// === a hub ===

/// Answers `GET /user` and the code exchange like the real one.
#[derive(Default)]
pub(super) struct FakeHub {
    people: Mutex<HashMap<String, Value>>,
    codes: Mutex<HashMap<String, (String, String)>>,
    pub(super) asked: AtomicUsize,
    pub(super) down: AtomicBool,
}

impl FakeHub {
    /// Makes `token` that of `name` with `scopes`.
    pub(super) fn grant(&self, token: &str, kind: &str, name: &str, admin: bool, scopes: &[&str]) {
        let model = json!({"kind": kind, "name": name, "admin": admin, "groups": [],
            "token_id": "a2", "session_id": null, "scopes": scopes});
        self.people.lock().insert(token.to_owned(), model);
    }

    pub(super) fn revoke(&self, token: &str) {
        self.people.lock().remove(token);
    }

    /// What the person's agreement at the hub does: a code for `challenge`, good for `token`.
    pub(super) fn agree(&self, code: &str, challenge: &str, token: &str) {
        let grant = (challenge.to_owned(), token.to_owned());
        self.codes.lock().insert(code.to_owned(), grant);
    }

    async fn user(Extract(hub): Extract<Arc<Self>>, headers: HeaderMap) -> Response {
        hub.asked.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        if hub.down.load(Ordering::SeqCst) {
            return StatusCode::BAD_GATEWAY.into_response();
        }
        let token = headers[header::AUTHORIZATION].to_str().expect("text");
        let token = token.strip_prefix("token ").expect("a token");
        match hub.people.lock().get(token) {
            Some(model) => Json(model.clone()).into_response(),
            None => {
                let no = json!({"status": 403, "message": null});
                (StatusCode::FORBIDDEN, Json(no)).into_response()
            }
        }
    }

    async fn exchange(Extract(hub): Extract<Arc<Self>>, body: String) -> Response {
        let mut form = Query::parse(Some(&body)).expect("a form");
        let form: HashMap<_, _> = [
            "client_id",
            "client_secret",
            "grant_type",
            "code",
            "redirect_uri",
            "code_verifier",
        ]
        .map(|name| (name, form.take(name).expect(name)))
        .into();
        let grant = hub.codes.lock().remove(form["code"].as_str());
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"]));
        let ours = form["client_id"] == "service-hubmeter"
            && form["client_secret"] == "our-own"
            && form["grant_type"] == "authorization_code"
            && form["redirect_uri"] == format!("{PREFIX}oauth_callback");
        match grant {
            Some((wanted, token)) if wanted == challenge && ours => {
                let answer = json!({"access_token": token, "expires_in": 1_209_600,
                    "token_type": "Bearer", "scope": "access:services!service=hubmeter"});
                Json(answer).into_response()
            }
            _ => {
                let no = json!({"error": "invalid_grant"});
                (StatusCode::BAD_REQUEST, Json(no)).into_response()
            }
        }
    }

    async fn listen(self: &Arc<Self>) -> String {
        let router = Router::new()
            .route("/hub/api/user", get(Self::user))
            .route("/hub/api/oauth2/token", post(Self::exchange))
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let addr = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{addr}/hub/api")
    }
}

// === a state ===

fn label(text: &str) -> Label {
    Label::clean(text, 128)
}

/// What an agent measured at `at_ms`.
pub(super) fn sample(at_ms: i64, rss_bytes: u64) -> Sample {
    Sample {
        interval_ms: 5_000,
        memory_limit_bytes: Some(4 << 30),
        memory_limit_source: Some(label("cgroup2:/demo")),
        memory_limit_enforced: true,
        processes: 2,
        threads: 9,
        workloads: vec![WorkloadSample {
            key: WorkloadKey {
                kind: WorkloadKind::Kernel,
                id: label("k1"),
            },
            name: label("python3"),
            notebook: Some(label("<b>&\"fit\".ipynb")),
            state: None,
            pid: 7,
            memory_used_bytes: Some(rss_bytes),
            rss_bytes,
            pss_bytes: None,
            cpu_millis: 0,
            processes: 1,
            threads: 8,
            idle_ms: None,
            read_bytes: None,
            written_bytes: None,
            remote: false,
        }],
        ..Sample::of_memory(
            at_ms,
            u64::try_from(at_ms - NOW_MS + 10_000_000).expect("after boot"),
            MemorySource::Cgroup2,
            rss_bytes,
        )
    }
}

/// One server that the hub lists and whose agent reported once.
pub(super) struct Known<'a> {
    pub(super) user: &'a str,
    pub(super) server: &'a str,
    pub(super) group: &'a str,
    pub(super) rss_bytes: u64,
}

fn state_of(known: &[Known]) -> State {
    let mut state = State::new(Policy::default());
    let at_ms = NOW_MS - 5_000;
    let servers = known.iter().map(|known| HubServer {
        key: ServerKey::new(known.user, known.server),
        groups: vec![label(known.group)],
        started_ms: Some(NOW_MS - 7_200_000),
        last_activity_ms: Some(NOW_MS - 3_600_000),
        ready: true,
    });
    state.apply(&Fact::Hub {
        at_ms,
        servers: servers.collect(),
    });
    for known in known {
        report(&mut state, known, 1, at_ms);
    }
    state
}

/// The agent of `known` sends report `seq`.
pub(super) fn report(
    state: &mut State,
    known: &Known,
    seq: u64,
    at_ms: i64,
) -> crate::state::Changed {
    let key = ServerKey::new(known.user, known.server);
    let instance = InstanceId([9; 16]);
    if seq == 1 {
        state.apply(&Fact::Connected {
            at_ms,
            key: key.clone(),
            instance,
            host: label("node-1"),
            interval_ms: 5_000,
        });
    }
    state.apply(&Fact::Report {
        arrived_ms: at_ms,
        key,
        instance,
        seq,
        samples: vec![sample(at_ms, known.rss_bytes)],
    })
}

pub(super) const PEOPLE: [Known<'static>; 3] = [
    Known {
        user: "ann",
        server: "",
        group: "class-a",
        rss_bytes: 3_000_000,
    },
    Known {
        user: "bob",
        server: "gpu-1",
        group: "class-b",
        rss_bytes: 1_000_000,
    },
    Known {
        user: "ada",
        server: "",
        group: "staff",
        rss_bytes: 2_000_000,
    },
];

// === a site ===

/// Everything together.
pub(super) struct Bed {
    pub(super) hub: Arc<FakeHub>,
    pub(super) state: Arc<RwLock<State>>,
    pub(super) changes: crate::pipeline::Changes,
    pub(super) history: History,
    pub(super) stats: Stats,
    pub(super) stop: watch::Sender<bool>,
    client: HubClient,
    site: Arc<Site>,
    router: Router,
    _dir: Option<TempDir>,
}

impl Bed {
    pub(super) async fn new() -> Self {
        Self::with(&PEOPLE).await
    }

    pub(super) async fn with(known: &[Known<'_>]) -> Self {
        Self::in_mode(known, HistoryMode::Memory, None).await
    }

    /// With history in files.
    pub(super) async fn keeping(known: &[Known<'_>]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let data_dir = dir.path().to_owned();
        Self::in_mode(known, HistoryMode::Files { data_dir }, Some(dir)).await
    }

    async fn in_mode(known: &[Known<'_>], mode: HistoryMode, dir: Option<TempDir>) -> Self {
        let hub = Arc::new(FakeHub::default());
        let client = HubClient::new(config::Hub {
            api_url: hub.listen().await,
            api_token: Secret::new("our-own".to_owned()),
            host: String::new(),
            base_url: "/jh/".to_owned(),
            service_name: "hubmeter".to_owned(),
            service_prefix: PREFIX.to_owned(),
            client_id: "service-hubmeter".to_owned(),
            oauth_callback_url: format!("{PREFIX}oauth_callback"),
            people_interval: crate::limits::HUB_PEOPLE_INTERVAL,
        })
        .expect("a client");
        let clock = Arc::new(ManualClock::at(NOW_MS));
        let config = HistoryConfig::new(mode);
        let history = History::open(&config, clock.clone()).expect("history");
        let stats = Stats::new();
        let (stop, shutdown) = watch::channel(false);
        let state = Arc::new(RwLock::new(state_of(known)));
        let told = super::told::told(&clock, &stats);
        let site = Arc::new(Site {
            prefix: PREFIX.to_owned(),
            state: state.clone(),
            history: history.clone(),
            reading: tokio::sync::Semaphore::new(1),
            activity: super::reports::activity(),
            reporting: Arc::new(tokio::sync::Semaphore::new(1)),
            starts: super::told::starts(&clock),
            desk: super::holds::desk(&told.registry, &state, &clock, &stats),
            told,
            words: guard::Words::new().expect("random numbers"),
            agents: closed_to_agents(clock.clone(), stats.clone()),
            stats: stats.clone(),
            clock,
            verifier: Some(auth::Verifier::new(client.clone(), stats.clone())),
            sessions: auth::Sessions::new(),
            live: Arc::new(live::Live::new(NOW_MS, stats.clone())),
            per_user: crate::serve::PerUser::default(),
            shutdown,
        });
        Self {
            hub,
            state,
            changes: broadcast::channel(64).0,
            history,
            stats,
            stop,
            client,
            router: router(&site),
            site,
            _dir: dir,
        }
    }

    /// Keeps one sample of `key` per entry of `rss`, five seconds apart, the last one now.
    pub(super) fn remember(&self, key: &ServerKey, rss: &[u64]) {
        for (at, rss_bytes) in rss.iter().enumerate() {
            let back = i64::try_from(rss.len() - 1 - at).expect("few");
            let entry = HistoryEntry {
                key: key.clone(),
                instance: InstanceId([9; 16]),
                seq: at as u64 + 1,
                sample: Arc::new(sample(NOW_MS - back * 5_000, *rss_bytes)),
                momentum_bytes: (at > 0).then_some(-1),
                cpu_cores: (at > 0).then_some(0.5),
            };
            self.history.append(at as u64 + 1, vec![entry]);
        }
    }

    pub(super) fn site(&self) -> Arc<Site> {
        self.site.clone()
    }

    /// Asks for `path` below the prefix.
    pub(super) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask("GET", path, headers, "").await
    }

    /// Sends `body` to `path` below the prefix.
    pub(super) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let request = Request::builder().method(method);
        let mut request = request.uri(format!("{PREFIX}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Body::from(body.to_owned()))
            .expect("a request");
        let response = self.router.clone().oneshot(request).await;
        Answer(response.expect("an answer"))
    }

    /// Asks with `token`.
    pub(super) async fn get_as(&self, token: &str, path: &str) -> Answer {
        let authorization = format!("token {token}");
        self.get(path, &[("authorization", &authorization)]).await
    }

    /// Serves on a real port and returns its address.
    pub(super) async fn run(&self, local: Option<Identify>) -> std::net::SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let addr = listener.local_addr().expect("an address");
        self.run_on(Listener::Tcp(listener), None, local);
        addr
    }

    pub(super) fn run_on(
        &self,
        listener: Listener,
        metrics_listener: Option<Listener>,
        local: Option<Identify>,
    ) -> tokio::task::JoinHandle<()> {
        let serve = Serve {
            listener,
            metrics_listener,
            prefix: match &local {
                Some(_) => "/".to_owned(),
                None => PREFIX.to_owned(),
            },
            authority: match local {
                Some(identify) => Authority::Local(identify),
                None => Authority::Hub(self.client.clone()),
            },
            state: self.state.clone(),
            changes: self.changes.clone(),
            history: self.history.clone(),
            activity: self.site.activity.clone(),
            told: self.site.told.clone(),
            starts: self.site.starts.clone(),
            desk: self.site.desk.clone(),
            agents: self.site.agents.clone(),
            stats: self.stats.clone(),
            clock: Arc::new(ManualClock::at(NOW_MS)),
            per_user: super::local::TWO_SERVERS,
            shutdown: self.stop.subscribe(),
        };
        tokio::spawn(crate::serve::run(serve))
    }
}

/// An answer to look at.
pub(super) struct Answer(pub(super) Response);

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let value = self.0.headers().get(name)?;
        Some(value.to_str().expect("text"))
    }

    pub(super) fn cookies(&self) -> Vec<String> {
        let cookies = self.0.headers().get_all(header::SET_COOKIE).iter();
        cookies
            .map(|value| value.to_str().expect("text").to_owned())
            .collect()
    }

    pub(super) async fn text(self) -> String {
        let body = self.0.into_body().collect().await;
        let body = body.expect("a body").to_bytes();
        String::from_utf8(body.to_vec()).expect("text")
    }

    pub(super) async fn json(self) -> Value {
        serde_json::from_str(&self.text().await).expect("JSON")
    }
}

/// `user/server` of every row of a list.
pub(super) fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().expect("items");
    let name = |item: &Value| {
        let [user, server] = [&item["user"], &item["server"]].map(|v| v.as_str().expect("a name"));
        format!("{user}/{server}")
    };
    items.iter().map(name).collect()
}
