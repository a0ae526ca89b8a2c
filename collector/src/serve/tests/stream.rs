//! Server-sent events over a real socket.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde_json::Value;

use super::bed::{Bed, Known, NOW_MS, PREFIX, report};
use crate::{
    fact::Fact,
    person::{Fate, Fates, PeopleMove},
};

const ACCESS: &str = "access:services!service=hubmeter";

#[derive(Debug)]
struct Event {
    kind: String,
    id: Option<String>,
    data: Value,
}

struct Stream {
    response: reqwest::Response,
    text: String,
}

impl Stream {
    async fn open(addr: SocketAddr, token: &str, last: Option<&str>) -> Result<Self, u16> {
        let mut request = reqwest::Client::new()
            .get(format!("http://{addr}{PREFIX}api/v1/events"))
            .header("authorization", format!("token {token}"));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.expect("an answer");
        match response.status().as_u16() {
            200 => Ok(Self {
                response,
                text: String::new(),
            }),
            status => Err(status),
        }
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let line = block.lines().find_map(|line| line.strip_prefix(name));
                    line.map(|line| line.trim_start_matches(": ").to_owned())
                };
                let event = field("event").map(|kind| Event {
                    kind,
                    id: field("id"),
                    data: serde_json::from_str(&field("data").expect("data")).expect("JSON"),
                });
                self.text = rest.to_owned();
                match event {
                    Some(event) => return Some(event),
                    None => continue, // a heartbeat
                }
            }
            let chunk = self.response.chunk().await.ok()??;
            self.text
                .push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }
}

fn known(user: &'static str, rss_bytes: u64) -> Known<'static> {
    let server = if user == "bob" { "gpu-1" } else { "" };
    Known {
        user,
        server,
        group: "",
        rss_bytes,
    }
}

async fn bed() -> (Bed, SocketAddr) {
    let bed = Bed::new().await;
    bed.hub.grant(
        "all",
        "service",
        "reader",
        false,
        &["custom:hubmeter:read:all"],
    );
    bed.hub.grant("ann", "user", "ann", false, &[ACCESS]);
    let addr = bed.run(None).await;
    // The log begins once somebody follows the changes.
    while bed.changes.receiver_count() == 0 {
        tokio::task::yield_now().await;
    }
    (bed, addr)
}

fn change(bed: &Bed, known: &Known, seq: u64) {
    let at_ms = NOW_MS + 5_000 * i64::try_from(seq).expect("small");
    let changed = report(&mut bed.state.write(), known, seq, at_ms);
    bed.changes.send(Arc::new(changed)).expect("a follower");
}

#[tokio::test]
async fn a_stream_begins_with_what_may_be_seen_and_goes_on_with_what_changes() {
    let (bed, addr) = bed().await;
    let mut all = Stream::open(addr, "all", None).await.expect("a stream");
    for user in ["ada", "ann", "bob"] {
        let event = all.next().await.expect("an event");
        assert_eq!(
            (event.kind.as_str(), event.data["user"].as_str()),
            ("server", Some(user))
        );
        assert_eq!(
            event.id.is_some(),
            user == "bob",
            "only the last one can be gone on from"
        );
    }
    let mut own = Stream::open(addr, "ann", None).await.expect("a stream");
    assert_eq!(own.next().await.expect("an event").data["user"], "ann");

    change(&bed, &known("bob", 5_000_000), 2);
    let event = all.next().await.expect("an event");
    assert_eq!(
        (&event.data["user"], &event.data["rss_bytes"]),
        (&"bob".into(), &5_000_000.into())
    );
    change(&bed, &known("ann", 6_000_000), 2);
    let event = own.next().await.expect("an event");
    assert_eq!(
        (&event.data["user"], &event.data["rss_bytes"]),
        (&"ann".into(), &6_000_000.into())
    );
}

#[tokio::test]
async fn a_verdict_is_told_to_those_who_may_see_its_server() {
    let (bed, addr) = bed().await;
    let mut own = Stream::open(addr, "ann", None).await.expect("a stream");
    own.next().await.expect("the picture");
    change(&bed, &known("bob", (4 << 30) - 1), 2);
    change(&bed, &known("ann", (4 << 30) - 1), 2);
    assert_eq!(own.next().await.expect("an event").kind, "server");
    let event = own.next().await.expect("an event");
    assert_eq!(
        (event.kind.as_str(), &event.data["user"]),
        ("verdict", &"ann".into())
    );
}

#[tokio::test]
async fn a_cut_stream_goes_on_from_its_last_event_and_an_unknown_one_begins_anew() {
    let (bed, addr) = bed().await;
    let mut first = Stream::open(addr, "all", None).await.expect("a stream");
    let mut last = None;
    for _ in 0..3 {
        last = first.next().await.expect("an event").id;
    }
    drop(first);
    change(&bed, &known("ann", 7_000_000), 2);
    let mut resumed = Stream::open(addr, "all", last.as_deref())
        .await
        .expect("a stream");
    let event = resumed.next().await.expect("an event");
    assert_eq!(
        (&event.data["user"], &event.data["rss_bytes"]),
        (&"ann".into(), &7_000_000.into())
    );
    for stale in ["0-1", "nonsense", "999999999999-1", "16e7b0e0f14-99999"] {
        let mut anew = Stream::open(addr, "all", Some(stale)).await;
        // A login holds three streams; let the one before go first.
        while let Err(429) = anew.as_ref().map_err(|status| *status) {
            tokio::task::yield_now().await;
            anew = Stream::open(addr, "all", Some(stale)).await;
        }
        let event = anew.expect("a stream").next().await.expect("an event");
        assert_eq!(event.data["user"], "ada", "{stale}");
    }
}

#[tokio::test]
async fn whoever_has_seen_a_forgotten_user_is_told_to_begin_anew() {
    let (bed, addr) = bed().await;
    let mut all = Stream::open(addr, "all", None).await.expect("a stream");
    let mut last = None;
    for _ in 0..3 {
        last = all.next().await.expect("an event").id;
    }
    let fates = Fates::one("ann", Fate::Erased);
    let people = PeopleMove::new(fates);
    let fact = Fact::People {
        at_ms: NOW_MS,
        people,
    };
    let changed = bed.state.write().apply(&fact);
    bed.changes.send(Arc::new(changed)).expect("a follower");
    assert_eq!(all.next().await.expect("an event").kind, "reset");
    for user in ["ada", "bob"] {
        assert_eq!(all.next().await.expect("an event").data["user"], user);
    }
    // So is a stream that was cut before and comes back after.
    let mut resumed = Stream::open(addr, "all", last.as_deref())
        .await
        .expect("a stream");
    assert_eq!(resumed.next().await.expect("an event").kind, "reset");
}

#[tokio::test]
async fn one_login_holds_three_streams_and_gets_the_place_of_a_closed_one_back() {
    let (_bed, addr) = bed().await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(Stream::open(addr, "all", None).await.expect("a stream"));
    }
    assert_eq!(Stream::open(addr, "all", None).await.err(), Some(429));
    assert!(
        Stream::open(addr, "ann", None).await.is_ok(),
        "others have their own"
    );
    held.pop();
    while Stream::open(addr, "all", None).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn many_changes_of_one_server_are_told_once_with_the_latest() {
    let (bed, addr) = bed().await;
    let mut own = Stream::open(addr, "ann", None).await.expect("a stream");
    own.next().await.expect("the picture");
    for seq in 2..50 {
        change(&bed, &known("ann", 1_000 * seq), seq);
    }
    let mut events = 0;
    while own.next().await.expect("an event").data["rss_bytes"] != 49_000 {
        events += 1;
    }
    assert!(events < 40, "{events} events before the latest");
}

#[tokio::test]
async fn a_stop_ends_open_streams() {
    let (bed, addr) = bed().await;
    let mut own = Stream::open(addr, "ann", None).await.expect("a stream");
    own.next().await.expect("the picture");
    bed.stop.send_replace(true);
    assert!(own.next().await.is_none());
}

#[tokio::test]
async fn what_became_of_a_notice_is_told_to_whom_it_was_for_and_to_who_sees_all() {
    let (bed, addr) = bed().await;
    bed.hub.grant("bob", "user", "bob", false, &[ACCESS]);
    let mut streams = Vec::new();
    for (token, rows) in [("all", 3), ("ann", 1), ("bob", 1)] {
        let mut stream = Stream::open(addr, token, None).await.expect("a stream");
        for _ in 0..rows {
            assert_eq!(stream.next().await.expect("a row").kind, "server");
        }
        streams.push(stream);
    }
    let told = bed.site().told.clone();
    super::told::queue(&told, "e1", "user-mail", "ann");
    told.outbox.deliver_due().await.expect("an attempt");
    for stream in &mut streams[..2] {
        let event = stream.next().await.expect("an event");
        assert_eq!(event.kind, "notice");
        assert_eq!(event.data["outcome"], "failed", "nobody listens there");
        assert_eq!(event.data["channel"], "user-mail");
        assert_eq!(event.data["user"], "ann");
    }
    change(&bed, &known("bob", 5), 2);
    let next = streams[2].next().await.expect("an event");
    assert_eq!(next.kind, "server", "it was not for bob");
}
