//! Reports: who gets which rows of which table.

use std::sync::Arc;

use super::bed::{Bed, NOW_MS, PEOPLE, sample};
use crate::{
    fact::{HubServer, InstanceId, ServerKey},
    history::HistoryEntry,
    report::hub_activity::{Activity, Labels, Newest},
    text::Label,
};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

fn label(text: &str) -> Label {
    Label::clean(text, 255)
}

/// What was counted a minute ago.
pub(super) fn activity() -> Newest {
    let labels = Labels {
        cluster: label("cluster-1"),
        hub: label("hub.example.org"),
        chart: label("basehub"),
    };
    let counted = Activity {
        counted_ms: NOW_MS - MINUTE_MS,
        daily: 3,
        weekly: 5,
        monthly: 8,
    };
    Newest::new(labels, Some(counted))
}

/// A collector that keeps usage: each of [`PEOPLE`], and a hostile name, used 1 GiB and half a core
/// for an hour of today, in a run of two hours.
async fn bed() -> Bed {
    let bed = Bed::keeping(&PEOPLE).await;
    for (token, kind, name, scopes) in [
        (
            "all",
            "service",
            "reader",
            &["custom:hubmeter:read:all"][..],
        ),
        ("ann", "user", "ann", &["access:services!service=hubmeter"]),
        (
            "class-a",
            "service",
            "teacher",
            &["list:users!group=class-a", "read:servers!group=class-a"],
        ),
    ] {
        bed.hub.grant(token, kind, name, false, scopes);
    }
    let hostile = ("=cmd|' /C calc'!A0", "", "class-b");
    let people = PEOPLE
        .iter()
        .map(|known| (known.user, known.server, known.group));
    let mut servers = Vec::new();
    let begin_ms = NOW_MS - 3 * 60 * MINUTE_MS;
    for (user, server, group) in people.chain([hostile]) {
        let key = ServerKey::new(user, server);
        let entries = (0..=60).map(|minute: i64| {
            let mut sample = sample(NOW_MS, 1 << 30);
            sample.at_ms = begin_ms + minute * MINUTE_MS;
            sample.interval_ms = if minute == 0 { 0 } else { 60_000 };
            sample.mono_ms = u64::try_from(minute * MINUTE_MS).expect("positive");
            sample.cpu_millis = sample.mono_ms / 2;
            HistoryEntry {
                key: key.clone(),
                instance: InstanceId([9; 16]),
                seq: u64::try_from(minute + 1).expect("positive"),
                sample: Arc::new(sample),
                momentum_bytes: None,
                cpu_cores: Some(0.5),
            }
        });
        bed.history.append(1, entries.collect());
        servers.push(HubServer {
            key,
            groups: vec![label(group), label("everybody")],
            started_ms: Some(begin_ms - 60 * MINUTE_MS),
            last_activity_ms: None,
            ready: true,
        });
    }
    bed.history
        .note_running(begin_ms + 60 * MINUTE_MS, &servers);
    bed.history.flush().expect("a disk");
    bed
}

async fn table(bed: &Bed, token: &str, path: &str) -> String {
    let answer = bed.get_as(token, path).await;
    assert_eq!(answer.status(), 200, "{path}");
    assert_eq!(
        answer.header("content-type"),
        Some("text/csv; charset=utf-8")
    );
    answer.text().await
}

const USAGE: &str = "api/v1/reports/usage.csv";

#[tokio::test]
async fn who_may_see_all_gets_every_user_and_no_formula() {
    let bed = bed().await;
    let measured = "1.000000,0.500000,1.000000,1.000000,1073741824";
    assert_eq!(
        table(&bed, "all", USAGE).await,
        format!(
            "date,window,user,servers,memory_gib_hours,cpu_core_hours,hours_covered,\
             hours_unmeasured,memory_peak_bytes\n\
             2019-11-17,day,'=cmd|' /C calc'!A0,1,{measured}\n\
             2019-11-17,day,ada,1,{measured}\n\
             2019-11-17,day,ann,1,{measured}\n\
             2019-11-17,day,bob,1,{measured}\n"
        )
    );
}

#[tokio::test]
async fn everybody_else_gets_the_rows_they_may_see() {
    let bed = bed().await;
    for token in ["ann", "class-a"] {
        for by in ["user", "group"] {
            let table = table(&bed, token, &format!("{USAGE}?by={by}")).await;
            let rows: Vec<&str> = table.lines().skip(1).collect();
            let names: Vec<&str> = rows.iter().filter_map(|r| r.split(',').nth(2)).collect();
            let expected = match by {
                "user" => vec!["ann"],
                _ => vec!["class-a", "everybody"],
            };
            assert_eq!(names, expected, "{token}");
        }
    }
    let none = bed.get(USAGE, &[]).await;
    assert_eq!(none.status(), 401);
}

#[tokio::test]
async fn who_is_in_two_groups_counts_in_each() {
    let bed = bed().await;
    let two = "2.000000,1.000000,2.000000,2.000000,1073741824";
    let one = "1.000000,0.500000,1.000000,1.000000,1073741824";
    assert_eq!(
        table(&bed, "all", &format!("{USAGE}?by=group&window=month")).await,
        format!(
            "date,window,group,users,servers,memory_gib_hours,cpu_core_hours,hours_covered,\
             hours_unmeasured,memory_peak_bytes\n\
             2019-11-01,month,class-a,1,1,{one}\n\
             2019-11-01,month,class-b,2,2,{two}\n\
             2019-11-01,month,everybody,4,4,4.000000,2.000000,4.000000,4.000000,1073741824\n\
             2019-11-01,month,staff,1,1,{one}\n"
        )
    );
}

#[tokio::test]
async fn windows_and_filters_narrow_the_table_and_mistakes_are_named() {
    let bed = bed().await;
    for (query, rows) in [
        ("from=2019-11-17&to=2019-11-18", 4),
        ("from=2019-11-18&to=2019-11-19", 0),
        ("from=-30d&to=2019-11-17", 0),
        ("user=ann", 1),
        ("group=class-b", 2),
        ("group=class-b&user=ann", 0),
        ("window=week&from=2019-11-17", 4), // a Sunday; its week began on the 11th
    ] {
        let table = table(&bed, "all", &format!("{USAGE}?{query}")).await;
        assert_eq!(table.lines().count() - 1, rows, "{query}");
    }
    for (query, status) in [
        ("by=server", 422),
        ("window=hour", 422),
        ("from=yesterday", 422),
        ("from=2019-11-17&to=2019-11-16", 422),
        ("windows=day", 400),
    ] {
        let answer = bed.get_as("all", &format!("{USAGE}?{query}")).await;
        assert_eq!(answer.status(), status, "{query}");
        let problem = answer.json().await;
        let name = query.split('=').next().expect("a name");
        assert_eq!(problem["field"], name, "{query}");
    }
}

#[tokio::test]
async fn without_files_no_usage_is_kept_and_the_answer_says_so() {
    let bed = Bed::new().await;
    let scopes = ["custom:hubmeter:read:all"];
    bed.hub.grant("all", "service", "reader", false, &scopes);
    let answer = bed.get_as("all", USAGE).await;
    assert_eq!(answer.status(), 404);
    assert!(answer.text().await.contains("history.mode"));
}

const ACTIVITY: &str = "api/v1/reports/hub-activity.csv";

#[tokio::test]
async fn hub_activity_is_told_to_those_who_may_see_all_with_its_age() {
    let bed = bed().await;
    let answer = bed.get_as("all", ACTIVITY).await;
    assert_eq!(answer.header("age"), Some("60"));
    let counted = answer.header("hubmeter-counted-at");
    assert_eq!(counted, Some("2019-11-17T21:55:36.500Z"));
    assert_eq!(
        answer.text().await,
        ",cluster,hub,scale,users,chart\n\
         0,cluster-1,hub.example.org,Daily,3,basehub\n\
         1,cluster-1,hub.example.org,Weekly,5,basehub\n\
         2,cluster-1,hub.example.org,Monthly,8,basehub\n"
    );
    assert_eq!(
        table(&bed, "all", &format!("{ACTIVITY}?form=unique")).await,
        "date,cluster,unique_users\n2019-11-17,cluster-1,8\n"
    );
    for token in ["ann", "class-a"] {
        assert_eq!(bed.get_as(token, ACTIVITY).await.status(), 403, "{token}");
    }
}

#[tokio::test]
async fn a_count_of_more_than_a_day_ago_is_no_answer() {
    let bed = bed().await;
    let newest = &bed.site().activity;
    for (age_ms, status) in [(DAY_MS, 200), (DAY_MS + 1, 503)] {
        newest.put(Activity {
            counted_ms: NOW_MS - age_ms,
            daily: 0,
            weekly: 0,
            monthly: 0,
        });
        assert_eq!(bed.get_as("all", ACTIVITY).await.status(), status);
    }
}
