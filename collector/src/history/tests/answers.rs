//! Answers as a whole: what is refused, and which columns there are in every tier.

use super::*;

#[test]
fn a_question_that_takes_too_many_rows_is_refused_in_words() {
    let fixture = Fixture::new();
    let history = fixture.open();
    // One sample every 10 ms in the last 48 hours' newest part, over many windows.
    let rows = (0..200_001_i64).map(|at| {
        let at_ms = NOW_MS - 40 * HOUR_MS + at * 200;
        entry(at as u64, sample(at_ms, 1), None)
    });
    history.append(1, rows.collect());
    let asked = ReadQuery {
        from_ms: NOW_MS - 41 * HOUR_MS,
        ..query(&[])
    };
    let error = history.read(&asked).unwrap_err();
    assert!(matches!(error, HistoryError::TooManyRows { .. }));
    assert!(error.to_string().contains("longer step"));
}

#[test]
fn what_else_slows_a_server_is_kept_in_every_tier_and_unknown_stays_unknown() {
    let fixture = Fixture::new();
    let history = fixture.open();
    let mut entries = entries(24);
    for (at, entry) in (0..).zip(&mut entries) {
        let sample = Arc::make_mut(&mut entry.sample);
        sample.vitals.shm_bytes = Some(4096 * (1 + at % 2));
        sample.vitals.memory_pressure_some_bp = Some(50);
        sample.vitals.read_bytes = Some(1_000 * at);
        sample.vitals.disk = (at > 0).then_some(crate::fact::Disk {
            used_bytes: 7,
            limit_bytes: 9,
            quota: true,
            age_ms: 0,
        });
        sample.vitals.agent_cpu_millis = Some(at);
    }
    history.append(1, entries);
    history.flush().unwrap();
    let fields = [
        "shm_bytes",
        "memory_pressure_some_bp",
        "read_bytes",
        "written_bytes",
        "disk_used_bytes",
        "disk_limit_bytes",
        "agent_cpu_millis",
    ];
    let newest = |step_ms| {
        let table = history
            .read(&ReadQuery {
                step_ms,
                ..query(&fields)
            })
            .unwrap();
        let cell = |cells: &Cells| match cells {
            Cells::Integers(cells) => *cells.last().unwrap(),
            other => panic!("{other:?}"),
        };
        let cells = table.columns.iter().map(|(_, cells)| cell(cells));
        (cells.collect::<Vec<_>>(), table)
    };
    let (row, table) = newest(None);
    let known = [
        Some(8192),
        Some(50),
        Some(23_000),
        None,
        Some(7),
        Some(9),
        Some(23),
    ];
    assert_eq!(row, known);
    let disk_used = &table.columns[4].1;
    assert!(matches!(disk_used, Cells::Integers(cells) if cells[0].is_none()));
    // Counters tell where they stood last, the others their mean.
    let (minute, _) = newest(Some(60_000));
    assert_eq!(minute[0], Some(6144));
    assert_eq!(minute[1..], known[1..]);
    let (hour, _) = newest(Some(HOUR_MS));
    assert_eq!(hour[1..], known[1..]);
}
