use super::*;

fn identity(name: &str, kind: IdentityKind, scopes: &[&str]) -> Identity {
    Identity {
        name: name.to_owned(),
        kind,
        groups: Vec::new(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        admin: false,
        session_id: None,
    }
}

fn user(scopes: &[&str]) -> Identity {
    identity("ann", IdentityKind::User, scopes)
}

fn row(user: &str, group: &str) -> Server {
    let mut server = Server::new(ServerKey::new(user, "gpu-1"));
    server.groups = vec![Label::clean(group, 64)];
    server
}

fn sight(identity: &Identity, browser: bool) -> Sight {
    Sight::of_hub(identity, "hubmeter", browser)
}

/// Who of (own, same group, other) is seen.
fn seen(identity: &Identity) -> (bool, bool, bool) {
    let sight = sight(identity, false);
    (
        sight.sees(&row("ann", "x")),
        sight.sees(&row("bob", "class-a")),
        sight.sees(&row("eve", "class-b")),
    )
}

#[test]
fn a_filtered_scope_shows_its_group_and_no_more() {
    let both = [
        "list:users!group=class-a",
        "read:servers!group=class-a",
        "access:services!service=hubmeter",
    ];
    assert_eq!(seen(&user(&both)), (true, true, false));
    assert_eq!(seen(&user(&both[..2])), (false, true, false));
    assert_eq!(seen(&user(&both[..1])), (false, false, false));
    let ours = ["custom:hubmeter:read:all!group=class-a"];
    assert_eq!(seen(&user(&ours)), (false, true, false));
}

#[test]
fn one_scope_for_all_and_one_for_a_group_shows_the_group() {
    let scopes = ["list:users", "read:servers!group=class-a"];
    assert_eq!(seen(&user(&scopes)), (false, true, false));
}

#[test]
fn two_scopes_for_different_groups_show_neither() {
    let scopes = ["list:users!group=class-a", "read:servers!group=class-b"];
    assert_eq!(seen(&user(&scopes)), (false, false, false));
}

#[test]
fn a_scope_that_only_begins_alike_opens_nothing() {
    let scopes = [
        "list:users:extra",
        "read:servers:extra",
        "custom:hubmeter:read:allx",
        "custom:hubmeter:read:all!role=x",
        "custom:hubmeter:read:all!group=",
        "access:services!service=hubmeter2",
        "access:services!server=ann/",
    ];
    assert!(sight(&user(&scopes), true).is_blind());
}

#[test]
fn admin_counts_for_a_browser_of_ours_and_for_nobody_else() {
    let access = "access:services!service=hubmeter";
    let mut admin = user(&[access]);
    admin.admin = true;
    assert_eq!(sight(&admin, true), Sight::All);
    assert_eq!(seen(&admin), (true, false, false));
    let mut service = identity("ann", IdentityKind::Service, &[access]);
    service.admin = true;
    assert!(sight(&service, true).is_blind());
    let mut stranger = user(&[]);
    stranger.admin = true;
    assert!(sight(&stranger, true).is_blind());
}

#[test]
fn a_servers_own_token_opens_its_users_rows_whatever_else_it_holds() {
    let mut server = user(&[
        "access:servers!server=ann/",
        "users:activity!user=ann",
        "list:users",
        "read:servers",
        "read:metrics",
        "custom:hubmeter:read:all",
    ]);
    server.admin = true;
    assert_eq!(seen(&server), (true, false, false));
    assert_ne!(sight(&server, true), Sight::All);
    assert!(!Viewer::of_hub(&server, "hubmeter", false, [0; 32]).metrics);
}

#[test]
fn a_visitors_token_opens_nothing() {
    for scopes in [
        &["access:servers!server=bob/", "users:activity!user=ann"][..],
        &["access:servers!server=bob/", "read:users:name!user=ann"],
        &["access:servers!server=ann/", "read:users:name!user=ann"],
        &["access:servers!server=annex/", "users:activity!user=ann"],
        &["access:servers!server=ann/x/y", "users:activity!user=ann"],
        &["access:servers!user=ann", "users:activity!user=ann"],
    ] {
        assert!(sight(&user(scopes), false).is_blind(), "{scopes:?}");
    }
}

#[test]
fn standalone_answers_this_machine_and_its_own_pages() {
    let headers = |pairs: &[(&'static str, &'static str)]| {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = axum::http::HeaderName::from_static(name);
            (name, axum::http::HeaderValue::from_static(value))
        });
        pairs.collect::<HeaderMap>()
    };
    for host in [
        "localhost",
        "LOCALHOST:8090",
        "127.0.0.1:1",
        "127.9.9.9",
        "[::1]:8090",
    ] {
        assert!(
            local_page_only(&headers(&[("host", host)])).is_ok(),
            "{host}"
        );
    }
    for host in [
        "",
        "evil.example",
        "localhost.evil.example:80",
        "10.0.0.1",
        "[::2]",
        "1",
    ] {
        assert!(
            local_page_only(&headers(&[("host", host)])).is_err(),
            "{host}"
        );
    }
    let foreign = [
        ("host", "localhost"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "cors"),
    ];
    assert!(local_page_only(&headers(&foreign)).is_err());
}
