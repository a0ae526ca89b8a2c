//! Mail to users: off unless set, to an address that the settings make, once.

use hubmeter_collector::{
    notice::UserMailConfig,
    registry::{Audience, Mute},
};

use super::*;

fn to_users(sink: SocketAddr) -> NoticeConfig {
    let mail = by_mail(sink).mail.unwrap();
    NoticeConfig {
        mail: Some(MailConfig { to: vec![], ..mail }),
        user_mail: Some(UserMailConfig {
            rules: vec![(Rule::RunawayMemory, Severity::Info)],
            address: Some("{user}@example.org".into()),
            ..UserMailConfig::default()
        }),
        ..NoticeConfig::default()
    }
}

#[tokio::test]
async fn a_user_is_told_of_their_own_server_in_words_to_them_and_once_across_restarts() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let config = to_users(sink.addr);
    let outbox = open(dir.path(), &config, &clock);
    outbox.observe(&[runaway("e1", "alice")]).unwrap();
    deliver(&outbox).await;
    drop(outbox);
    let outbox = open(dir.path(), &config, &clock);
    outbox.observe(&[runaway("e1", "alice")]).unwrap();
    deliver(&outbox).await;
    let mails = sink.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].to, ["alice@example.org"]);
    assert_eq!(
        mails[0].header("Subject"),
        "hubmeter: runaway memory, your server"
    );
    assert!(mails[0].text().starts_with("Your server grows 50 MiB/s"));
}

#[tokio::test]
async fn a_users_mute_holds_for_their_mail_and_for_jupyterlab_but_not_for_what_was_killed() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let mut config = to_users(sink.addr);
    let rules = [Rule::RunawayMemory, Rule::Killed];
    let all = rules.map(|rule| (rule, Severity::Info));
    config.user_mail.as_mut().unwrap().rules = all.to_vec();
    let clock = clock();
    let outbox = open(dir.path(), &config, &clock);
    let registry = Registry::open(dir.path()).unwrap();
    for rule in rules {
        // From before such a mute was refused.
        let mute = Mute {
            key: &ServerKey::new("alice", ""),
            rule: rule.as_str(),
            audience: Audience::User,
            until_ms: Some(NOW_MS + 60_000),
            by: "alice",
            episode: "e0",
            now_ms: NOW_MS,
        };
        registry.mute(&mute).unwrap();
    }
    let grows = runaway("e1", "alice");
    let died = Verdict {
        rule: Rule::Killed,
        ..runaway("e2", "alice")
    };
    let muted = |verdict: &Verdict| outbox.is_muted_by_user(verdict).unwrap();
    assert!(muted(&grows) && !muted(&died) && !muted(&runaway("e3", "bob")));
    outbox.observe(&[grows.clone(), died]).unwrap();
    deliver(&outbox).await;
    let subjects: Vec<_> = sink.mails().iter().map(|m| m.header("Subject")).collect();
    assert_eq!(subjects, ["hubmeter: killed, your server"]);
    clock.advance(60_000);
    assert!(!muted(&grows), "it is over");
}

#[tokio::test]
async fn users_get_no_mail_unless_it_is_said_of_what_and_where() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let mut config = to_users(sink.addr);
    config.user_mail.as_mut().unwrap().rules.clear();
    let outbox = open(dir.path(), &config, &clock());
    outbox.observe(&[runaway("e1", "alice")]).unwrap();
    deliver(&outbox).await;
    assert_eq!(sink.mails().len(), 0);
    assert_eq!(
        NoticeConfig::default().user_mail,
        None,
        "a watcher tells admins only"
    );
}

#[tokio::test]
async fn a_name_that_is_no_address_gets_no_mail_and_nobody_else_gets_it() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let config = NoticeConfig {
        per_day_max: 1000,
        ..to_users(sink.addr)
    };
    let outbox = open(dir.path(), &config, &clock());
    for (at, name) in HOSTILE.iter().enumerate() {
        outbox.observe(&[runaway(&format!("e{at}"), name)]).unwrap();
    }
    deliver(&outbox).await;
    for mail in sink.mails() {
        assert_eq!(mail.to.len(), 1, "{:?}", mail.to);
        let (local, domain) = mail.to[0].split_once('@').unwrap();
        assert_eq!(domain, "example.org", "{:?}", mail.to);
        assert!(HOSTILE.contains(&local), "{local:?}");
        assert!(!mail.headers.iter().any(|(name, _)| name == "Bcc"));
    }
    assert!(sink.mails().len() <= 2, "{}", sink.mails().len());
    assert_eq!(outbox.stats().failed, 0, "there is nothing to try again");
}

#[tokio::test]
async fn one_user_gets_so_many_mails_a_day_and_admins_theirs_beside_them() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let mut config = to_users(sink.addr);
    config.mail = by_mail(sink.addr).mail;
    config.user_mail.as_mut().unwrap().per_user_day_max = 2;
    let outbox = open(dir.path(), &config, &clock());
    for at in 0..4 {
        outbox
            .observe(&[runaway(&format!("e{at}"), "alice")])
            .unwrap();
    }
    deliver(&outbox).await;
    let to = |address: &str| {
        let mails = sink.mails();
        let to = mails.into_iter().filter(|mail| mail.to[0] == address);
        to.collect::<Vec<_>>()
    };
    assert_eq!(to("admin@example.org").len(), 4);
    let own = to("alice@example.org");
    assert_eq!(own.len(), 2);
    assert!(own[1].text().contains("the last mail about your server"));
}

#[tokio::test]
async fn an_address_file_that_is_gone_holds_mail_back_until_it_is_there() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("addresses");
    let mut config = to_users(sink.addr);
    config.user_mail.as_mut().unwrap().address_file = Some(file.clone());
    let clock = clock();
    let outbox = open(dir.path(), &config, &clock);
    outbox.observe(&[runaway("e1", "alice")]).unwrap();
    deliver(&outbox).await;
    assert_eq!(outbox.stats().failed, 1);
    std::fs::write(&file, "alice,ali@x.org\n").unwrap();
    clock.advance(30_000);
    deliver(&outbox).await;
    assert_eq!(sink.mails()[0].to, ["ali@x.org"]);
}

#[tokio::test]
async fn one_users_missing_address_holds_nobody_elses_mail_back() {
    let sink = Sink::start(0).await;
    let dir = tempfile::tempdir().unwrap();
    let mut config = to_users(sink.addr);
    config.mail = by_mail(sink.addr).mail;
    config.user_mail.as_mut().unwrap().address_file = Some(dir.path().join("gone"));
    let outbox = open(dir.path(), &config, &clock());
    outbox
        .observe(&[runaway("e1", "alice"), runaway("e2", "bob")])
        .unwrap();
    deliver(&outbox).await;
    let mails = sink.mails();
    assert_eq!(mails.len(), 2, "the admins'");
    assert!(mails.iter().all(|mail| mail.to[0] == "admin@example.org"));
    assert_eq!(outbox.stats().failed, 2);
}

#[tokio::test]
async fn an_answer_about_one_users_mail_holds_nobody_elses_back() {
    let sink = Sink::start(1).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("addresses");
    // The server takes no address but in ASCII: that mail is not even offered to it.
    std::fs::write(&file, "late,late@x.org\njo,j\u{f6}@x.org\nbob,bob@x.org\n").unwrap();
    let mut config = to_users(sink.addr);
    config.user_mail.as_mut().unwrap().address_file = Some(file);
    let outbox = open(dir.path(), &config, &clock());
    let verdicts = ["late", "jo", "bob"].map(|user| runaway(user, user));
    outbox.observe(&verdicts).unwrap();
    deliver(&outbox).await;
    let mails = sink.mails();
    assert_eq!(mails.len(), 1, "{mails:?}");
    assert_eq!(mails[0].to, ["bob@x.org"]);
    assert_eq!(outbox.stats().failed, 2);
}
