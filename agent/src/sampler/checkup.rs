//! What else slows the server or ends it, taken beside every sample.
//!
//! What moves fast is read through descriptors that stay open; what moves slowly is looked at once
//! a minute. Nothing here can fail a sample: what cannot be read is unknown.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::time::{ClockId, clock_gettime};

use crate::{
    rate::flow::Flow,
    sample::{
        cgroup::{Group, Version},
        disk::{DiskWatch, home, own_program},
        faults,
        file::{Lasting, Page, read_bytes, read_strings},
        files::FilesRound,
        job,
        kernels::Identity,
        limit::Limit,
        machine::MachineGauge,
        pressure::{PressureGauge, Under},
        stat,
        tree::Tree,
        vitals::{AgentCost, Vitals},
    },
};

/// What is followed from tick to tick.
#[derive(Debug)]
pub(super) struct Checkup {
    proc_root: PathBuf,
    root_pid: u32,
    /// Whether this `/proc` is the kernel's, so that descriptors may stay open and what it says of
    /// this process is true.
    kernels: bool,
    page: Page,
    pressure: PressureGauge,
    machine: MachineGauge,
    files: FilesRound,
    disk: DiskWatch,
    own: OwnSize,
    /// What the root's environment says, and the program it belongs to.
    told: Option<(Arc<Identity>, Told)>,
}

/// So old the agent's own resident size may be.
const OWN_SIZE_MS_MAX: u64 = 30_000;

/// What a program's environment says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    home: Option<PathBuf>,
    job_ends_ms: Option<u64>,
}

/// What the tick found out already.
pub(super) struct Round<'a> {
    pub(super) tree: &'a Tree,
    pub(super) own: Option<&'a Group>,
    pub(super) limit: Option<&'a Limit>,
    pub(super) shm_bytes: Option<u64>,
    pub(super) flow: Option<Flow>,
    pub(super) mono_ms: u64,
}

/// How much of this process is resident: what it was moments ago is as true, and reading it costs
/// more than the tree's idle processes.
#[derive(Debug)]
struct OwnSize {
    statm: Lasting,
    read_ms: Option<u64>,
    pages: Option<u64>,
}

// === impl Checkup ===

impl Checkup {
    /// Reads nothing yet. `kernels` says whether this `/proc` is the kernel's.
    pub(super) fn new(proc_root: &Path, root_pid: u32, kernels: bool) -> Self {
        let program = own_program().filter(|_| kernels);
        Self {
            proc_root: proc_root.to_owned(),
            root_pid,
            kernels,
            page: Page::default(),
            pressure: PressureGauge::default(),
            machine: MachineGauge::new(proc_root, kernels),
            files: FilesRound::default(),
            disk: DiskWatch::new(proc_root, root_pid, program),
            own: OwnSize::new(proc_root, kernels),
            told: None,
        }
    }

    /// One tick's signs of life.
    pub(super) fn take(&mut self, round: &Round<'_>) -> Vitals {
        let now_ms = round.mono_ms;
        self.hear_environment(round.tree);
        let told = self.told.as_ref().map(|(_, told)| told);
        let under = match (round.own, round.limit) {
            (Some(group), _) if group.version() == Version::V2 => Under::Own(group),
            (_, Some(limit)) if limit.source == "machine" => Under::Machine,
            _ => Under::Nobody,
        };
        Vitals {
            shm_bytes: round.shm_bytes,
            memory_pressure: self.pressure.read(
                under,
                &self.proc_root,
                self.kernels,
                &mut self.page,
            ),
            read_bytes: round.flow.map(|flow| flow.read_bytes),
            written_bytes: round.flow.map(|flow| flow.written_bytes),
            open_files: self.files.look(round.tree, &self.proc_root, now_ms),
            disk: self
                .disk
                .look(told.and_then(|told| told.home.as_deref()), now_ms),
            machine: self
                .machine
                .read(round.tree.load_hundredths(), now_ms, &mut self.page),
            job_ends_ms: told.and_then(|told| told.job_ends_ms),
            agent: self.own_cost(now_ms),
        }
    }

    /// CPU time of this process' own children so far: none of the server's.
    pub(super) fn children_ns(&self) -> u64 {
        self.disk.children_ns()
    }

    /// Read again when the root became another program: before that it has its parent's.
    fn hear_environment(&mut self, tree: &Tree) {
        let Some(root) = tree.root() else { return };
        if matches!(&self.told, Some((before, _)) if Arc::ptr_eq(before, &root.identity)) {
            return;
        }
        let process = self.proc_root.join(self.root_pid.to_string());
        let path = process.join("environ");
        let read = read_strings(&path);
        // What fails for now is asked again; what may never be read is as if not said.
        let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        let ask_again = read.as_ref().is_err_and(|error| !denied(error));
        let environ = faults::noted(&path, read);
        if ask_again {
            return;
        }
        let environ = environ.unwrap_or_default();
        let uid = std::fs::metadata(&process)
            .map(|process| process.uid())
            .ok();
        let passwd = || {
            let path = self.proc_root.join("self/root/etc/passwd");
            faults::noted(&path, read_bytes(&path)).unwrap_or_default()
        };
        let told = Told {
            home: home::find(&environ, uid, passwd),
            job_ends_ms: job::ends_ms(&environ),
        };
        let home_before = self.told.as_ref().and_then(|(_, told)| told.home.as_ref());
        if home_before != told.home.as_ref() {
            self.disk.forget();
        }
        self.told = Some((root.identity.clone(), told));
    }

    /// What this process costs; of a copied `/proc` it is none of its figures. Ticks are counted
    /// by who waits for them.
    fn own_cost(&mut self, now_ms: u64) -> AgentCost {
        if !self.kernels {
            return AgentCost::default();
        }
        let spent = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).ok();
        let cpu_ns = spent.and_then(|spent| {
            let seconds = u64::try_from(spent.tv_sec()).ok()?;
            Some(seconds * 1_000_000_000 + u64::try_from(spent.tv_nsec()).ok()?)
        });
        let pages = self.own.pages(&mut self.page, now_ms);
        AgentCost {
            cpu_millis: cpu_ns.map(|ns| ns.saturating_add(self.disk.children_ns()) / 1_000_000),
            rss_bytes: pages.map(|pages| pages.saturating_mul(stat::page_bytes())),
            ticks_skipped: 0,
        }
    }
}

// === impl OwnSize ===

impl OwnSize {
    fn new(proc_root: &Path, kernels: bool) -> Self {
        Self {
            statm: Lasting::new(proc_root.join("self/statm"), kernels),
            read_ms: None,
            pages: None,
        }
    }

    fn pages(&mut self, page: &mut Page, now_ms: u64) -> Option<u64> {
        let age_ms = |read_ms: u64| now_ms.saturating_sub(read_ms);
        if self.read_ms.is_none_or(|ms| age_ms(ms) >= OWN_SIZE_MS_MAX) {
            let text = self.statm.text(page);
            self.pages = text.and_then(|text| text.split_ascii_whitespace().nth(1)?.parse().ok());
            self.read_ms = Some(now_ms);
        }
        self.pages
    }
}
