use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::timeout,
};

use super::*;

const URGENT_BYTES: u32 = 512;

/// Long enough for a wake-up that should not come.
const NOT_WOKEN: Duration = Duration::from_millis(100);

/// Patience with one that should.
const WOKEN: Duration = Duration::from_secs(20);

/// A receipt as it comes.
const SMALL: [u8; 41] = [7; 41];

/// Our end, and the collector's.
async fn connected() -> (Wire, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap());
    let (ours, theirs) = tokio::join!(ours, listener.accept());
    let wire = Wire::over(ours.unwrap()).unwrap();
    wire.line().make_urgent_from(URGENT_BYTES);
    (wire, theirs.unwrap().0)
}

/// The collector says `bytes`, and they are there.
async fn say(wire: &Wire, theirs: &mut TcpStream, bytes: &[u8]) {
    let before = ioctl_fionread(&wire.line().socket).unwrap();
    theirs.write_all(bytes).await.unwrap();
    while ioctl_fionread(&wire.line().socket).unwrap() < before + bytes.len() as u64 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What is read within `patience`.
async fn read(wire: &mut Wire, patience: Duration) -> Option<usize> {
    let mut room = [0; 4096];
    let read = timeout(patience, wire.read(&mut room)).await;
    read.ok().map(Result::unwrap)
}

#[tokio::test]
async fn a_small_message_waits_for_the_next_tick_and_a_long_one_does_not() {
    let (mut wire, mut theirs) = connected().await;
    assert!(!wire.line().keep_company(5_000, 10_000));
    say(&wire, &mut theirs, &SMALL).await;
    assert_eq!(read(&mut wire, NOT_WOKEN).await, None);
    assert!(wire.line().keep_company(10_000, 15_000));
    assert_eq!(read(&mut wire, WOKEN).await, Some(SMALL.len()));
    assert!(!wire.line().keep_company(15_000, 20_000), "nothing is left");

    say(&wire, &mut theirs, &SMALL).await;
    say(&wire, &mut theirs, &[1; URGENT_BYTES as usize]).await;
    let all = SMALL.len() + URGENT_BYTES as usize;
    assert_eq!(read(&mut wire, WOKEN).await, Some(all));
    assert_eq!(wire.line().heard_bytes(), (SMALL.len() + all) as u64);
}

#[tokio::test]
async fn ticks_a_second_apart_look_every_few_seconds() {
    let (wire, mut theirs) = connected().await;
    wire.line().keep_company(10_000, 11_000);
    say(&wire, &mut theirs, &SMALL).await;
    let looks: Vec<u64> = (11..=20)
        .filter(|second| {
            wire.line()
                .keep_company(second * 1_000, second * 1_000 + 1_000)
        })
        .collect();
    assert_eq!(looks, [11, 16]);
}

#[tokio::test]
async fn every_byte_wakes_where_ticks_are_far_apart_or_the_collector_does_not_say() {
    let (mut wire, mut theirs) = connected().await;
    wire.line().keep_company(5_000, 10_000);
    // The next is put off: what lies there already is read with this one.
    say(&wire, &mut theirs, &SMALL).await;
    assert!(wire.line().keep_company(10_000, 70_000));
    assert_eq!(read(&mut wire, WOKEN).await, Some(SMALL.len()));
    say(&wire, &mut theirs, &SMALL).await;
    assert_eq!(read(&mut wire, WOKEN).await, Some(SMALL.len()));

    let (mut wire, mut theirs) = connected().await;
    wire.line().make_urgent_from(0);
    wire.line().keep_company(5_000, 10_000);
    say(&wire, &mut theirs, &SMALL).await;
    assert_eq!(read(&mut wire, WOKEN).await, Some(SMALL.len()));
}

#[tokio::test]
async fn the_end_of_the_connection_wakes_and_so_does_everything_once_there_are_no_more_ticks() {
    let (mut wire, mut theirs) = connected().await;
    wire.line().keep_company(5_000, 10_000);
    say(&wire, &mut theirs, &SMALL).await;
    wire.line().hurry();
    assert_eq!(read(&mut wire, WOKEN).await, Some(SMALL.len()));
    say(&wire, &mut theirs, &SMALL).await;
    assert_eq!(read(&mut wire, WOKEN).await, Some(SMALL.len()));

    let (mut wire, theirs) = connected().await;
    wire.line().keep_company(5_000, 10_000);
    drop(theirs);
    assert_eq!(read(&mut wire, WOKEN).await, Some(0));
}

#[tokio::test]
async fn a_stream_that_is_gone_keeps_no_company() {
    let (wire, mut theirs) = connected().await;
    let company = Company::default();
    assert!(!company.keep(5_000, 10_000));
    company.join(Some(wire.line()));
    company.keep(5_000, 10_000);
    say(&wire, &mut theirs, &SMALL).await;
    assert!(company.keep(10_000, 15_000));
    drop(wire);
    assert!(!company.keep(15_000, 20_000));
}
