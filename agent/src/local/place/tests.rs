use std::{collections::HashMap, os::unix::net::UnixListener};

use super::*;

struct Fake(HashMap<&'static str, String>);

impl Environment for Fake {
    fn get(&self, key: &str) -> Option<String> {
        self.0.get(key).cloned()
    }
}

fn env(pairs: &[(&'static str, &Path)]) -> Fake {
    Fake(
        pairs
            .iter()
            .map(|(key, path)| (*key, path.display().to_string()))
            .collect(),
    )
}

#[test]
fn the_runtime_directory_is_used_and_ours_alone() {
    let runtime = tempfile::tempdir().unwrap();
    let path = Place::beside(None, 42, &env(&[("XDG_RUNTIME_DIR", runtime.path())]))
        .unwrap()
        .path;
    assert_eq!(path, runtime.path().join("hubmeter/42.sock"));
    let mode = std::fs::metadata(path.parent().unwrap())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_runtime_directory_that_is_missing_open_or_a_link_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = dir.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let linked = dir.path().join("linked");
    std::fs::create_dir(&linked).unwrap();
    std::os::unix::fs::symlink(&elsewhere, linked.join("hubmeter")).unwrap();
    let open = dir.path().join("open");
    std::fs::create_dir_all(open.join("hubmeter")).unwrap();
    std::fs::set_permissions(
        open.join("hubmeter"),
        std::fs::Permissions::from_mode(0o777),
    )
    .unwrap();
    for runtime in [&dir.path().join("missing"), &linked, &open] {
        let path = Place::beside(None, 42, &env(&[("XDG_RUNTIME_DIR", runtime)]))
            .unwrap()
            .path;
        assert!(path.starts_with("/tmp"), "{}", path.display());
    }
}

#[test]
fn nothing_is_ever_placed_under_home_not_even_through_a_link() {
    let home = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink(home.path(), &link).unwrap();
    let env = env(&[("HOME", home.path()), ("XDG_RUNTIME_DIR", home.path())]);
    for chosen in [
        home.path().join("a.sock"),
        home.path().join("b/a.sock"),
        link.join("a.sock"),
    ] {
        assert!(matches!(
            Place::beside(Some(&chosen), 1, &env),
            Err(PlaceError::UnderHome { .. })
        ));
    }
    assert!(
        Place::beside(None, 1, &env)
            .unwrap()
            .path
            .starts_with("/tmp")
    );
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn a_file_name_longer_than_any_address_is_refused_with_the_bound() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::beside(Some(&dir.path().join("x".repeat(110))), 1, &env(&[])).unwrap();
    let error = Address::of(&place.path).unwrap_err();
    assert!(error.to_string().contains("107"), "{error}");
}

#[test]
fn a_directory_where_others_can_replace_files_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    for (mode, accepted) in [
        (0o700, true),
        (0o755, true),
        (0o1777, true),
        (0o777, false),
        (0o770, false),
    ] {
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let place = Place::beside(Some(&path), 1, &env(&[]));
        assert_eq!(place.is_ok(), accepted, "{mode:o}: {place:?}");
    }
}

#[test]
fn a_name_that_somebody_lives_under_is_passed_over_before_the_server_starts() {
    let runtime = tempfile::tempdir().unwrap();
    let env = env(&[("XDG_RUNTIME_DIR", runtime.path())]);
    let first = Place::before(None, &env).unwrap();
    let own = std::process::id();
    assert_eq!(
        first.path,
        runtime.path().join(format!("hubmeter/{own}.sock"))
    );
    let listener = UnixListener::bind(&first.path).unwrap();
    let second = Place::before(None, &env).unwrap();
    assert_eq!(
        second.path,
        runtime.path().join(format!("hubmeter/{own}-2.sock"))
    );
    drop(listener);
    assert_eq!(
        Place::before(None, &env).unwrap(),
        first,
        "a stale one is no hindrance"
    );
    let known = first.known_by(7);
    assert_eq!(known.also, Some(runtime.path().join("hubmeter/7.sock")));
}

#[test]
fn a_chosen_socket_that_a_stranger_listens_at_is_kept_for_it_to_be_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    // The listener is this process: no ancestor of itself.
    assert_eq!(Place::before(Some(&path), &env(&[])).unwrap().path, path);
}

#[test]
fn a_stale_socket_is_replaced_a_live_one_and_other_files_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let listener = UnixListener::bind(&path).unwrap();
    assert!(matches!(clear_stale(&path), Err(PlaceError::Taken { .. })));
    drop(listener);
    clear_stale(&path).unwrap();
    assert!(!path.try_exists().unwrap());

    let target = dir.path().join("precious");
    std::fs::write(&target, "x").unwrap();
    std::os::unix::fs::symlink(&target, &path).unwrap();
    for path in [&path, &target] {
        assert!(matches!(clear_stale(path), Err(PlaceError::Taken { .. })));
    }
    assert!(target.try_exists().unwrap());
}

#[test]
fn what_killed_agents_left_is_swept_and_nothing_else() {
    let runtime = tempfile::tempdir().unwrap();
    let place = Place::beside(None, 1, &env(&[("XDG_RUNTIME_DIR", runtime.path())])).unwrap();
    let dir = runtime.path().join("hubmeter");
    drop(UnixListener::bind(dir.join("2.sock")).unwrap());
    std::fs::write(dir.join("note"), "mine").unwrap();
    let _alive = UnixListener::bind(dir.join("3.sock")).unwrap();
    let made_ms = std::fs::metadata(dir.join("2.sock"))
        .unwrap()
        .mtime()
        .unsigned_abs()
        * 1_000;
    let left = || {
        let names = std::fs::read_dir(&dir).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    place.sweep(made_ms + SWEEP_AGE_MS);
    assert_eq!(
        left(),
        ["2.sock", "3.sock", "note"],
        "it may be about to be listened at"
    );
    place.sweep(made_ms + SWEEP_AGE_MS + 1);
    assert_eq!(left(), ["3.sock", "note"]);
}
