//! "Is this cgroup mine alone?" on the file trees of every kind of machine a server runs on, and
//! what doctor says about each.
//!
//! `fixtures/cgroups/*.tree` hold a tree and, behind `doctor`, the words. Most are built after the
//! layouts that are documented and say after which; `recorded_*` are what `record.sh` wrote on a
//! real kernel. Lines of a tree:
//!
//! ```text
//! # where it is from
//! root PID                                the server
//! environ NAME=VALUE …                    of the server
//! mount LINE                              of /proc/self/mountinfo
//! member LINE                             of /proc/<server>/cgroup
//! process PID PPID START MIB NAME WORD …  START in seconds; resident MiB; its arguments
//! group PATH                              below /sys/fs/cgroup, with its files:
//!   FILE text; of; lines
//! ```
//!
//! With `HUBMETER_TEST_WRITE=1` the words are written anew instead of compared.

use std::{fs, path::PathBuf};

use hubmeter_agent::{
    doctor,
    sample::{MemorySource, Sample},
    sampler::{PssMode, Sampler, Target},
};

use super::machine::{At, MIB, Machine, Proc, assert_sums};

const DIVIDER: &str = "\ndoctor\n";

/// One recorded machine.
struct Tree {
    machine: Machine,
    root: u32,
    /// The words expected of doctor.
    words: String,
}

fn path(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cgroups");
    dir.join(format!("{name}.tree"))
}

impl Tree {
    fn load(name: &str) -> Self {
        let text = fs::read_to_string(path(name)).unwrap();
        let (text, words) = text.split_once(DIVIDER).unwrap_or((&text, ""));
        let machine = Machine::new();
        let (mut root, mut mounts, mut members) = (0, String::new(), String::new());
        let mut environ = Vec::new();
        let mut processes = Vec::new();
        let mut group = String::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (word, rest) = line.trim_start().split_once(' ').unwrap_or((line, ""));
            if line.starts_with("  ") {
                let text = rest.replace("; ", "\n") + "\n";
                let dir = machine.cgroups().join(group.trim_start_matches('/'));
                fs::create_dir_all(&dir).unwrap();
                fs::write(dir.join(word), text).unwrap();
                continue;
            }
            match word {
                "#" => {}
                "root" => root = rest.parse().unwrap(),
                "environ" => environ.extend(rest.split(' ').map(str::to_owned)),
                "mount" => mounts += &format!("{rest}\n"),
                "member" => members += &format!("{rest}\n"),
                "process" => processes.push(process(rest)),
                "group" => group = rest.to_owned(),
                _ => panic!("{name}: {line}"),
            }
        }
        for process in processes.iter_mut().filter(|process| process.pid == root) {
            process.environ.append(&mut environ);
        }
        machine.mounts(&mounts);
        machine.run(&processes);
        machine.member(&[root], &members);
        Self {
            machine,
            root,
            words: words.to_owned(),
        }
    }

    /// Agents run outside of the tree unless its own name says otherwise.
    fn target(&self) -> Target {
        self.machine.target(self.root)
    }

    fn sample(&self) -> Sample {
        let mut sampler = Sampler::new(self.target(), PssMode::Budget).unwrap();
        let sample = sampler.tick(&At(0)).unwrap();
        assert_sums(&sample);
        sample
    }

    /// What doctor says, without what is the same everywhere, and what is of the machine that the
    /// test runs on.
    fn said(&self) -> String {
        let dir = self.machine.dir.path().display().to_string();
        let words = doctor::words_on(self.target()).unwrap().replace(&dir, "");
        let constant = ["agent ", "names ", "collector ", "socket ", "cost "];
        words
            .lines()
            .filter(|line| !constant.iter().any(|start| line.starts_with(start)))
            .filter(|line| !line.contains("(kernel "))
            .map(|line| format!("{}\n", line.trim_end()))
            .collect()
    }
}

fn process(words: &str) -> Proc {
    let words: Vec<&str> = words.split(' ').collect();
    let [pid, ppid, start, mib] = [0, 1, 2, 3].map(|at: usize| words[at].parse().unwrap());
    let small = |pid: u64| u32::try_from(pid).unwrap();
    Proc {
        name: words[4].to_owned(),
        start: start * 100,
        rss: mib * MIB,
        shared: mib * MIB / 4,
        pss: Some(mib * MIB * 7 / 8),
        ..Proc::new(small(pid), small(ppid)).arguments(&words[5..])
    }
}

/// What a sample must say of a tree: source, limit's source, shared.
fn holds(name: &str, source: MemorySource, limit: &str, shared: bool) {
    let tree = Tree::load(name);
    let sample = tree.sample();
    assert_eq!(sample.memory_source, source, "{name}");
    assert_eq!(sample.memory_limit_source.as_deref(), Some(limit), "{name}");
    assert_eq!(sample.memory_limit_shared, shared, "{name}");
    assert_eq!(sample.memory_limit_used_bytes.is_some(), shared, "{name}");
    let said = tree.said();
    if std::env::var_os("HUBMETER_TEST_WRITE").is_some() {
        let text = fs::read_to_string(path(name)).unwrap();
        let head = text.split_once(DIVIDER).map_or(&*text, |(head, _)| head);
        fs::write(path(name), format!("{}\n{DIVIDER}{said}", head.trim_end())).unwrap();
        return;
    }
    assert_eq!(said, tree.words, "{name}");
}

#[test]
fn a_systemd_unit_of_the_users_own_is_the_servers_on_version_2() {
    let limit = "cgroup2:/jupyter.slice/jupyter-ada-singleuser.service";
    holds("systemd_unit_v2", MemorySource::Cgroup2, limit, false);
}

#[test]
fn a_limit_on_the_slice_of_all_units_is_shared_by_them() {
    let limit = "cgroup2:/jupyter.slice";
    holds("systemd_slice_v2", MemorySource::Cgroup2, limit, true);
}

#[test]
fn a_container_of_kubernetes_sees_itself_as_the_root_on_version_2() {
    holds("kubernetes_v2", MemorySource::Cgroup2, "cgroup2:/", false);
}

#[test]
fn a_container_of_kubernetes_is_found_through_its_bind_mount_on_version_1() {
    let pod = "/kubepods/burstable/pod7f0b8c1e-3f5e-4b1c-9a55-0d6c5f1a2b3c/\
        9d3f0a6c1b2e4d5f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f";
    let limit = format!("cgroup1:{pod}");
    holds("kubernetes_v1", MemorySource::Cgroup1, &limit, false);
}

#[test]
fn a_docker_container_on_version_1_is_the_servers_with_its_init() {
    let limit = "cgroup1:/docker/4c01db0b339c6f1e5d4a3b2c1d0e9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d2e";
    holds("docker_v1", MemorySource::Cgroup1, limit, false);
}

#[test]
fn a_podman_container_with_a_shell_beside_the_server_is_the_containers_alone() {
    holds("podman_v2", MemorySource::Pss, "cgroup2:/", true);
}

#[test]
fn on_a_hybrid_machine_memory_is_on_version_1_whatever_version_2_shows() {
    let limit = "cgroup1:/hub/ada";
    holds("hybrid", MemorySource::Cgroup1, limit, false);
}

#[test]
fn a_batch_script_is_nobody_else_and_of_equal_limits_the_shared_one_holds_under_slurm() {
    let limit = "cgroup2:/system.slice/slurmstepd.scope/job_4711";
    holds("slurm_v2", MemorySource::Cgroup2, limit, true);
}

#[test]
fn a_job_of_several_steps_shares_the_jobs_limit_under_slurm_on_version_1() {
    let limit = "cgroup1:/slurm/uid_1001/job_4711";
    holds("slurm_v1", MemorySource::Cgroup1, limit, true);
}

#[test]
fn on_a_plain_host_where_all_servers_are_the_hubs_children_the_figure_is_the_trees() {
    holds("plain_host_v2", MemorySource::Pss, "machine", false);
}

#[test]
fn in_a_login_session_with_other_programs_the_limit_of_the_user_is_shared() {
    let limit = "cgroup2:/user.slice/user-1001.slice";
    holds("login_session_v2", MemorySource::Pss, limit, true);
}

#[test]
fn in_a_system_container_a_unit_is_the_servers_and_the_containers_limit_is_shared() {
    holds("lxc_v2", MemorySource::Cgroup2, "cgroup2:/", true);
}

#[test]
fn recorded_in_a_container_with_its_own_namespaces_the_cgroup_is_the_servers() {
    holds(
        "recorded_container_v2",
        MemorySource::Cgroup2,
        "cgroup2:/",
        false,
    );
}

#[test]
fn recorded_in_nested_groups_the_limit_of_the_job_is_shared_with_the_other_step() {
    let limit = "cgroup2:/s/job_1";
    holds("recorded_nested_v2", MemorySource::Cgroup2, limit, true);
}

#[test]
fn recorded_on_a_hybrid_machine_the_group_of_version_1_is_the_servers() {
    let limit = "cgroup1:/hub/ada";
    holds("recorded_hybrid", MemorySource::Cgroup1, limit, false);
}
