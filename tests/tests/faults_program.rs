//! A whole collector whose disk fails, fills or is slow, and whose clock is set, under agents that
//! go on: live view and verdicts go on, receipts stop, it says why, it comes right by itself, and
//! nothing with a receipt is lost.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use hubmeter_tests::{
    faults::{
        program::{Bed, until},
        shim::{self, FOR_EVER, Fault, Shim},
        slots,
    },
    swarm::hub,
};
use tokio::time::sleep;

/// What a disk is filled with, in the end byte by byte.
const FILLER_BYTES: [usize; 3] = [1 << 16, 4096, 1];

/// Bytes of the disk that fills.
const DISK_BYTES: u64 = 24 << 20;

/// How long the disk is bad: some tries fail.
const BAD_FOR: Duration = Duration::from_secs(3);

/// A file system of its own, unmounted with this.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

fn done(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// A small disk at `dir`, where this machine lets us have one. An error in it makes it read-only.
fn small_disk<'a>(image: &Path, dir: &'a Path) -> Option<Mounted<'a>> {
    fs::create_dir_all(dir).unwrap();
    fs::File::create(image)
        .unwrap()
        .set_len(DISK_BYTES)
        .unwrap();
    let made = done(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(image));
    (made && mount(image, dir)).then_some(Mounted(dir))
}

fn mount(image: &Path, dir: &Path) -> bool {
    let options = ["-o", "loop,errors=remount-ro"];
    done(Command::new("mount").args(options).arg(image).arg(dir))
}

/// Where the kernel takes word of an error in the file system at `dir`; `None` where it takes none.
fn error_trigger(dir: &Path) -> Option<PathBuf> {
    let mut source = Command::new("findmnt");
    let output = source.args(["-no", "SOURCE"]).arg(dir).output().ok()?;
    let device = String::from_utf8(output.stdout).ok()?;
    let name = Path::new(device.trim()).file_name()?.to_owned();
    let trigger = Path::new("/sys/fs/ext4")
        .join(name)
        .join("trigger_fs_error");
    trigger.try_exists().ok()?.then_some(trigger)
}

fn fill(path: &Path) {
    let mut filler = fs::File::create(path).unwrap();
    for bytes in FILLER_BYTES {
        while filler.write_all(&vec![7; bytes]).is_ok() {}
    }
}

#[tokio::test]
async fn a_disk_that_fills_stops_receipts_and_nothing_else_and_all_comes_right_when_there_is_room()
{
    let dir = tempfile::tempdir().unwrap();
    let (image, data) = (dir.path().join("image"), dir.path().join("data"));
    let Some(disk) = small_disk(&image, &data) else {
        println!("skipped: no file system can be mounted here (root and loop devices)");
        return;
    };
    let mut bed = Bed::start(dir.path(), Vec::new()).await.unwrap();
    let filler = data.join("filler");
    fill(&filler);
    let words = bed.until_unready("journal").await.unwrap();
    assert!(words.contains("none gets a receipt"), "{words}");
    assert!(words.contains("full"), "{words}");
    bed.until_seen().await.unwrap();
    let receipted = bed.fleet.receipted();
    // A verdict is raised while nothing can be written.
    bed.fleet.agents()[0].cut();
    until("silent verdict", async || {
        Ok(bed.rules().await?.contains(&"silent".to_owned()))
    })
    .await
    .unwrap();
    assert_eq!(
        bed.fleet.receipted(),
        receipted,
        "no receipt without a commit"
    );
    fs::remove_file(&filler).unwrap();
    bed.fleet.agents()[0].connect(&bed.collector.url().unwrap());
    bed.until_well().await.unwrap();
    let audit = bed.audit().await.unwrap();
    println!("disk full: {audit}");
    assert!(audit.is_clean(), "{audit}");
    assert_eq!(audit.stored, audit.taken, "{audit}");
    drop(bed);
    drop(disk);
}

#[tokio::test]
async fn a_file_system_that_becomes_read_only_stops_receipts_and_what_had_one_is_there_after_a_repair()
 {
    let dir = tempfile::tempdir().unwrap();
    let (image, data) = (dir.path().join("image"), dir.path().join("data"));
    let disk = small_disk(&image, &data);
    let Some((disk, trigger)) = disk.and_then(|disk| Some((disk, error_trigger(&data)?))) else {
        println!("skipped: no file system can be mounted and broken here (root and loop devices)");
        return;
    };
    let mut bed = Bed::start(dir.path(), Vec::new()).await.unwrap();
    // Nobody's remount comes about while a collector has files open there.
    let read_only = ["-o", "remount,ro"];
    assert!(!done(Command::new("mount").args(read_only).arg(&data)));
    bed.until_well().await.unwrap();
    // The kernel's own does.
    fs::write(trigger, "1").unwrap();
    let words = bed.until_unready("journal").await.unwrap();
    assert!(words.contains("none gets a receipt"), "{words}");
    let receipted = bed.fleet.receipted();
    bed.until_seen().await.unwrap();
    sleep(BAD_FOR).await;
    assert_eq!(
        bed.fleet.receipted(),
        receipted,
        "no receipt without a commit"
    );
    // Only a repair makes it writable again; agents keep what has no receipt.
    bed.collector.kill().unwrap();
    assert!(done(Command::new("umount").arg(&data)));
    let checked = Command::new("e2fsck").arg("-fp").arg(&image).status();
    assert!(
        checked.is_ok_and(|status| status.code() <= Some(1)),
        "repaired"
    );
    assert!(mount(&image, &data));
    bed.collector.start().await.unwrap();
    bed.fleet.connect(&bed.collector.url().unwrap());
    bed.until_well().await.unwrap();
    let audit = bed.audit().await.unwrap();
    println!("read-only file system: {words}; {audit}");
    assert!(audit.is_clean(), "{audit}");
    assert_eq!(audit.stored, audit.taken, "{audit}");
    drop(bed);
    drop(disk);
}

#[tokio::test]
async fn whichever_way_the_disk_fails_for_a_while_the_whole_program_goes_on_and_comes_right() {
    let dir = tempfile::tempdir().unwrap();
    let control = dir.path().join("control");
    let shim = Shim::open(&control).unwrap();
    let environment = shim::environment(&control, &dir.path().join("data"), None).unwrap();
    let mut bed = Bed::start(dir.path(), environment).await.unwrap();
    for (name, kind) in [
        ("EIO", slots::KIND_EIO),
        ("ENOSPC", slots::KIND_ENOSPC),
        ("EROFS, as a read-only remount", slots::KIND_EROFS),
        ("short writes", slots::KIND_SHORT),
        ("failed fsync", slots::KIND_SYNC),
    ] {
        let fault = Fault {
            kind,
            at: 1,
            lasts: FOR_EVER,
        };
        shim.arm(Some(fault)).unwrap();
        let words = bed.until_unready("journal").await.unwrap();
        let receipted = bed.fleet.receipted();
        bed.until_seen().await.unwrap();
        sleep(BAD_FOR).await;
        assert_eq!(bed.fleet.receipted(), receipted, "{name}: a receipt");
        assert!(shim.get(slots::FAILED).unwrap() > 1, "{name}");
        shim.disarm().unwrap();
        bed.until_well().await.unwrap();
        println!("{name}: {words}");
    }
    // Agents that are asked back may be late on a busy machine; nothing else was judged of them.
    let rules = bed.rules().await.unwrap();
    assert!(rules.iter().all(|rule| rule == "silent"), "{rules:?}");
    let audit = bed.audit().await.unwrap();
    println!("failing disk: {audit}");
    assert!(audit.is_clean(), "{audit}");
    assert_eq!(audit.stored, audit.taken, "{audit}");
}

#[tokio::test]
async fn flushes_that_take_two_seconds_make_receipts_late_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let control = dir.path().join("control");
    let shim = Shim::open(&control).unwrap();
    let environment = shim::environment(&control, &dir.path().join("data"), None).unwrap();
    let mut bed = Bed::start(dir.path(), environment).await.unwrap();
    shim.arm(None).unwrap();
    let before = bed.collector.cost().unwrap();
    drop(bed.fleet.take_receipt_millis());
    shim.set(slots::SYNC_DELAY_MS, 2_000).unwrap();
    sleep(Duration::from_secs(20)).await;
    bed.until_seen().await.unwrap();
    let late = bed.fleet.take_receipt_millis();
    let ready = bed.collector.readiness().await.unwrap();
    assert_eq!(ready["ready"], true, "{ready}");
    let grown = bed
        .collector
        .cost()
        .unwrap()
        .anon_bytes
        .saturating_sub(before.anon_bytes);
    let slowest = late.last();
    println!("slow flushes: up to {slowest:?} ms to a receipt, {grown} bytes more");
    assert!(grown < 32 << 20, "{grown} bytes");
    let median = late.get(late.len() / 2).copied().unwrap_or_default();
    assert!(median >= 1_000, "the disk was not slow: {late:?}");
    let dropped = bed
        .collector
        .figure("hubmeter_limit_dropped_total{limit=\"inbox_queue\"}");
    assert_eq!(dropped.await.unwrap(), 0);
    shim.set(slots::SYNC_DELAY_MS, 0).unwrap();
    bed.until_well().await.unwrap();
    assert_eq!(bed.rules().await.unwrap(), Vec::<String>::new());
    let audit = bed.audit().await.unwrap();
    assert!(audit.is_clean(), "{audit}");
    assert_eq!(audit.stored, audit.taken, "{audit}");
}

#[tokio::test]
async fn a_clock_that_is_set_by_seconds_or_years_loses_no_report_and_raises_no_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let control = dir.path().join("control");
    let shim = Shim::open(&control).unwrap();
    let environment = shim::environment(&control, &dir.path().join("data"), None).unwrap();
    let mut bed = Bed::start(dir.path(), environment).await.unwrap();
    let year_ms: i64 = 365 * 24 * 3600 * 1000;
    for ahead_ms in [1_000, -1_000, 10 * year_ms, -10 * year_ms, -56 * year_ms, 0] {
        shim.set(slots::CLOCK_AHEAD_MS, i64::cast_unsigned(ahead_ms))
            .unwrap();
        sleep(Duration::from_secs(2)).await;
        bed.until_seen().await.unwrap();
        let taken = bed.fleet.taken();
        until("receipts", async || Ok(bed.fleet.receipted() >= taken))
            .await
            .unwrap();
        for agent in bed.fleet.agents() {
            let path = format!("/api/v1/users/{}/server", hub::user(agent.index));
            let server = bed.collector.get(&path).await.unwrap().unwrap();
            assert_eq!(server["state"], "live", "{ahead_ms}: {server}");
            // By the clock it has, nobody was seen in the future.
            let path = format!("{path}/history?from=-1m&fields=cpu_cores,momentum_bytes");
            let history = bed.collector.get(&path).await.unwrap().unwrap();
            let rows = history["columns"]["time"].as_array().unwrap().len();
            assert!(rows > 0, "{ahead_ms}: no row of now");
            let cores = history["columns"]["cpu_cores"].as_array().unwrap();
            let sane = |cell: &serde_json::Value| {
                cell.is_null()
                    || cell
                        .as_f64()
                        .is_some_and(|cores| (0.0..1e3).contains(&cores))
            };
            assert!(cores.iter().all(sane), "{ahead_ms}: {cores:?}");
        }
    }
    assert_eq!(bed.rules().await.unwrap(), Vec::<String>::new());
    bed.fleet.stop_sampling();
    bed.until_well().await.unwrap();
}
