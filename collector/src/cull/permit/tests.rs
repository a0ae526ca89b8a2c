use super::*;
use crate::warning::{About, Stage};

const MINUTE_MS: i64 = 60_000;
const DUE_MS: i64 = 100 * MINUTE_MS;

/// By mail and in JupyterLab, a quarter of an hour and five minutes before.
fn policy() -> CullPolicy {
    CullPolicy {
        warns_by_mail: true,
        ..CullPolicy::default()
    }
}

fn due() -> Due {
    Due {
        at_ms: DUE_MS,
        about: About::Idle { since_ms: 0 },
        latest_ms: i64::MAX,
    }
}

fn warned() -> Warned {
    Warned {
        about: About::Idle { since_ms: 0 },
        episode: "e1".to_owned(),
        stage: Stage::Last,
        told_ms: DUE_MS - 5 * MINUTE_MS,
        delivered_ms: None,
        unreachable: false,
        page_ms: None,
        said_ms: None,
    }
}

fn at(now_ms: i64) -> Ways {
    Ways {
        can_warn: true,
        page_open: false,
        listens_since_ms: None,
        now_ms,
    }
}

#[test]
fn a_warning_that_no_mail_server_takes_keeps_a_server_for_a_day_and_not_for_ever() {
    let warned = warned();
    let day_ms = warned.told_ms + MAIL_TRIED_MS;
    let permit = |now_ms| permit(&policy(), due(), Some(&warned), at(now_ms));
    assert_eq!(permit(day_ms - 1), Permit::Undelivered);
    assert!(!permit(day_ms - 1).allows(i64::MAX));
    assert_eq!(permit(day_ms), Permit::From(DUE_MS));
}

#[test]
fn what_was_shown_in_a_page_needs_no_mail_and_what_was_mailed_no_page() {
    let delivered = Warned {
        delivered_ms: Some(DUE_MS + MINUTE_MS),
        ..warned()
    };
    let ways = Ways {
        page_open: true,
        ..at(DUE_MS + MINUTE_MS)
    };
    let from_ms = DUE_MS + 6 * MINUTE_MS;
    let permit = permit(&policy(), due(), Some(&delivered), ways);
    assert_eq!(permit, Permit::From(from_ms));
    assert!(!permit.allows(from_ms - 1) && permit.allows(from_ms));
}

#[test]
fn a_page_of_whoever_has_no_address_is_waited_for_as_without_mail() {
    let warned = Warned {
        unreachable: true,
        ..warned()
    };
    let permit = |page_open, now_ms| {
        let ways = Ways {
            page_open,
            ..at(now_ms)
        };
        permit(&policy(), due(), Some(&warned), ways)
    };
    assert_eq!(permit(false, DUE_MS), Permit::From(DUE_MS));
    let until_ms = DUE_MS + 15 * MINUTE_MS;
    let unseen = Permit::Unseen {
        from_ms: DUE_MS,
        until_ms,
    };
    assert_eq!(permit(true, DUE_MS), unseen);
    assert_eq!(unseen.at_ms(DUE_MS - 1), Some(DUE_MS));
    assert_eq!(unseen.at_ms(DUE_MS), Some(until_ms));
    assert!(!unseen.allows(until_ms - 1) && unseen.allows(until_ms));
}

#[test]
fn time_in_which_nobody_listened_is_nobodys_warning() {
    let delivered = Warned {
        delivered_ms: Some(DUE_MS - 5 * MINUTE_MS),
        ..warned()
    };
    let back_ms = DUE_MS + 30 * MINUTE_MS;
    let permit = |listens_since_ms, now_ms| {
        let ways = Ways {
            listens_since_ms,
            ..at(now_ms)
        };
        permit(&policy(), due(), Some(&delivered), ways)
    };
    let anew = Permit::Anew(back_ms + 5 * MINUTE_MS);
    assert_eq!(permit(Some(back_ms), back_ms), anew);
    // Long ago, it takes and gives nothing.
    assert_eq!(permit(Some(0), back_ms), Permit::From(DUE_MS));
}

#[test]
fn where_there_is_no_way_to_warn_nothing_is_waited_for() {
    let ways = Ways {
        can_warn: false,
        ..at(DUE_MS)
    };
    assert_eq!(permit(&policy(), due(), None, ways), Permit::From(DUE_MS));
    let silent = CullPolicy {
        warn_ms: Vec::new(),
        ..policy()
    };
    let permit = permit(&silent, due(), Some(&warned()), at(DUE_MS));
    assert_eq!(permit, Permit::From(DUE_MS));
}
