//! Quotas of a real file system: what is said of the home is where writing fails.

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use hubmeter_agent::sample::vitals::{Disk, DiskSource};
use tempfile::TempDir;

use super::bed::{MIB, Server, tick};

/// A block device with a file system that counts by user and by project: the virtual machine has
/// one. Elsewhere one is made in a file.
const GIVEN: &str = "HUBMETER_TEST_QUOTA_DISK";

/// Of a file system made here.
const FILE_BYTES: u64 = 64 * MIB;

/// Nobody on any machine, one for each test: what the other leaves is not this one's.
const UID: u32 = 65_533;
const PROJECTS_UID: u32 = 65_532;

/// What the kernel holds of whom, as `quotactl` numbers it.
const OF_USER: u8 = 0;
const OF_PROJECT: u8 = 2;

/// A file system rounds to its blocks, and a folder takes some.
const SLACK_BYTES: u64 = 64 * 1024;

/// A mounted file system with quotas; it is unmounted in the end.
struct Quotas {
    device: String,
    at: TempDir,
    /// The file it was made in.
    made: Option<TempDir>,
}

fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.success() {
        true => Ok(said(&output.stdout)),
        false => Err(format!("{program}: {}", said(&output.stderr))),
    }
}

impl Quotas {
    /// `None`, with the reason printed, where there can be none.
    fn mount() -> Option<Self> {
        let mounted = match std::env::var(GIVEN) {
            Ok(device) => Self::mount_device(device, None),
            Err(_) => Self::make(),
        };
        mounted
            .map_err(|why| println!("left out: no file system with quotas: {why}"))
            .ok()
    }

    fn make() -> Result<Self, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("disk");
        fs::File::create(&file)
            .unwrap()
            .set_len(FILE_BYTES)
            .unwrap();
        let file = file.to_str().unwrap();
        run("mkfs.ext4", &["-q", "-O", "quota,project", file])?;
        let device = run("losetup", &["--find", "--show", file])?;
        Self::mount_device(device, Some(dir))
    }

    fn mount_device(device: String, made: Option<TempDir>) -> Result<Self, String> {
        let at = tempfile::tempdir().unwrap();
        let quotas = Self { device, at, made };
        let at = quotas.at.path().to_str().unwrap();
        let options = ["-t", "ext4", "-o", "usrquota,prjquota", &quotas.device, at];
        run("mount", &options)?;
        Ok(quotas)
    }

    /// A new home of a user's.
    fn home(&self, uid: u32) -> PathBuf {
        let home = self.at.path().join(uid.to_string());
        fs::create_dir(&home).unwrap();
        chown(&home, Some(uid), Some(uid)).unwrap();
        home
    }
}

impl Drop for Quotas {
    fn drop(&mut self) {
        let _ = run("umount", &["-l", self.at.path().to_str().unwrap()]);
        if self.made.is_some() {
            let _ = run("losetup", &["-d", &self.device]);
        }
    }
}

/// A server of a user's.
fn server(home: &Path, uid: u32) -> Server {
    let mut server = Server::at_home(home);
    server.tell(&format!("become {uid}"));
    let owner = fs::metadata(format!("/proc/{}", server.pid()))
        .unwrap()
        .uid();
    assert_eq!(owner, uid);
    server
}

fn write(server: &mut Server, path: &Path, mib: u64) -> u64 {
    let answer = server.ask(&format!("write {} {mib}", path.display()));
    answer.parse::<u64>().unwrap() * 1024
}

/// As it is asked anew.
fn disk(server: &Server) -> Disk {
    let disk = tick(&mut server.sampler()).vitals.disk.expect("a disk");
    println!("{disk:?}");
    disk
}

#[test]
fn quota_of_a_user_is_the_limit_and_writing_fails_where_it_is_said_to_be_reached() {
    let Some(quotas) = Quotas::mount() else {
        return;
    };
    let mut root = Server::at_home(Path::new("/"));
    let mut bound = |mib| root.tell(&format!("bound {} {OF_USER} {UID} {mib}", quotas.device));
    bound(20);
    let home = quotas.home(UID);
    let mut server = server(&home, UID);
    let empty = disk(&server);
    assert_eq!(empty.source, DiskSource::Quota);
    assert_eq!(empty.limit_bytes, 20 * MIB);
    assert!(empty.used_bytes <= SLACK_BYTES, "{empty:?}");

    assert_eq!(write(&mut server, &home.join("a"), 8), 8 * MIB);
    let some = disk(&server);
    assert!(some.used_bytes.abs_diff(8 * MIB) <= SLACK_BYTES, "{some:?}");

    let written = write(&mut server, &home.join("b"), 40);
    assert!(written < 12 * MIB, "the kernel holds it: {written}");
    let full = disk(&server);
    assert!(full.used_bytes <= full.limit_bytes, "{full:?}");
    assert!(
        full.limit_bytes - full.used_bytes <= SLACK_BYTES,
        "{full:?}"
    );

    bound(0);
    let free = disk(&server);
    assert_eq!(free.source, DiskSource::Filesystem);
    assert!(free.limit_bytes > 20 * MIB, "{free:?}");
}

#[test]
fn quota_of_a_project_is_the_size_of_the_homes_file_system() {
    let Some(quotas) = Quotas::mount() else {
        return;
    };
    let home = quotas.home(PROJECTS_UID);
    let mut root = Server::at_home(Path::new("/"));
    root.tell(&format!("project {} 7", home.display()));
    root.tell(&format!("bound {} {OF_PROJECT} 7 16", quotas.device));
    let mut server = server(&home, PROJECTS_UID);
    let empty = disk(&server);
    assert_eq!(empty.source, DiskSource::Filesystem);
    assert_eq!(empty.limit_bytes, 16 * MIB);
    assert!(empty.used_bytes <= SLACK_BYTES, "{empty:?}");
    let written = write(&mut server, &home.join("a"), 40);
    assert!(written < 16 * MIB, "the kernel holds it: {written}");
    let full = disk(&server);
    assert!(
        full.limit_bytes - full.used_bytes <= SLACK_BYTES,
        "{full:?}"
    );
}
