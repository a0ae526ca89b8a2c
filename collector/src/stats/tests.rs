use super::*;

#[test]
fn every_refusal_and_bound_is_in_the_text_from_the_start() {
    let stats = Stats::new();
    stats.reject(Reject::Quota);
    stats.limit_set(Limit::Sessions, 7);
    stats.count(Count::Reports);
    let text = stats.prometheus_text();
    assert!(
        text.contains("hubmeter_rejected_total{reason=\"quota\"} 1"),
        "{text}"
    );
    assert!(
        text.contains("hubmeter_limit_max{limit=\"sessions\"} 7"),
        "{text}"
    );
    assert!(text.contains("hubmeter_reports_total 1"), "{text}");
    for reason in Reject::ALL {
        assert!(text.contains(&format!("reason=\"{}\"", reason.as_str())));
    }
    assert!(text.contains("# TYPE hubmeter_verdicts gauge"), "{text}");
    assert!(
        text.contains("# TYPE hubmeter_verdicts_total counter"),
        "{text}"
    );
}

#[test]
fn a_part_that_fails_is_named_until_it_works_again() {
    let stats = Stats::new();
    assert!(stats.unready().is_empty());
    stats.set_unready(Unready::Journal, true);
    assert_eq!(stats.unready(), [Unready::Journal]);
    stats.set_unready(Unready::Journal, false);
    assert!(stats.unready().is_empty());
}
