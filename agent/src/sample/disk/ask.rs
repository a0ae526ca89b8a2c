//! Asking a file system how full it is. May hang, where it is a file server's.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use nix::sys::quota::{Dqblk, QuotaType, quotactl_get};
use rustix::time::{ClockId, clock_gettime};

use crate::config::DiskArgs;

/// Sizes from here on are a file server's word for "I do not know".
const ENDLESS_BYTES: u64 = 1 << 60;

/// The kernel counts limits of quotas in these, whatever the file system's blocks are.
const QUOTA_BLOCK_BYTES: u64 = 1024;

/// How full a file system is for its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) used_bytes: u64,
    pub(crate) limit_bytes: u64,
    /// Of the user alone.
    pub(crate) quota: bool,
}

/// The user's own quota on a local file system, if one is set. The block device may be out of
/// sight in a container: then there is none that can be known.
pub(crate) fn quota(device: Option<&Path>, uid: Option<u32>) -> Option<Answer> {
    let id = i32::try_from(uid?).ok()?;
    let quota: Dqblk = quotactl_get(QuotaType::USRQUOTA, device?, id).ok()?;
    let limits = (quota.blocks_hard_limit(), quota.blocks_soft_limit());
    of_quota(quota.occupied_space(), limits)
}

/// At the hard limit writing fails; the soft one may be passed for a while, but not for ever. Zero
/// is no limit, and without one nothing is bounded.
fn of_quota(used_bytes: Option<u64>, (hard, soft): (Option<u64>, Option<u64>)) -> Option<Answer> {
    let set = |blocks: Option<u64>| blocks.filter(|&blocks| blocks > 0);
    Some(Answer {
        used_bytes: used_bytes?,
        limit_bytes: set(hard).or(set(soft))?.saturating_mul(QUOTA_BLOCK_BYTES),
        quota: true,
    })
}

/// The size of the file system, or of a project's or a volume's part of it. What is kept for root
/// is neither used nor to be had, so that used is the limit when writing fails, as with `df`.
pub(crate) fn size(path: &Path) -> Option<Answer> {
    let of = rustix::fs::statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(of.f_frsize.max(1));
    let used_bytes = bytes(of.f_blocks.saturating_sub(of.f_bfree));
    let limit_bytes = used_bytes.saturating_add(bytes(of.f_bavail));
    (1..ENDLESS_BYTES).contains(&limit_bytes).then_some(Answer {
        used_bytes,
        limit_bytes,
        quota: false,
    })
}

/// `hubmeter-agent disk PATH`: asks, and answers in one line what [`parse`] reads.
#[must_use]
pub(crate) fn answer(args: &DiskArgs) -> ExitCode {
    let Some(answer) = size(&args.path) else {
        return ExitCode::FAILURE;
    };
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    let part = |part: i64| u64::try_from(part).unwrap_or(0);
    let cpu_ns = part(spent.tv_sec) * 1_000_000_000 + part(spent.tv_nsec);
    let Answer {
        used_bytes,
        limit_bytes,
        ..
    } = answer;
    match writeln!(io::stdout(), "{used_bytes} {limit_bytes} {cpu_ns}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The answer of a child, and its CPU time.
pub(crate) fn parse(text: &[u8]) -> Option<(Answer, u64)> {
    let line = std::str::from_utf8(text).ok()?.strip_suffix('\n')?;
    let mut numbers = line.split(' ').map(|number| number.parse().ok());
    let mut next = || numbers.next().flatten();
    let (used_bytes, limit_bytes, cpu_ns): (u64, u64, u64) = (next()?, next()?, next()?);
    let answer = Answer {
        used_bytes,
        limit_bytes,
        quota: false,
    };
    numbers.next().is_none().then_some((answer, cpu_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_one_whole_line() {
        let answer = Answer {
            used_bytes: 5,
            limit_bytes: 9,
            quota: false,
        };
        assert_eq!(parse(b"5 9 1200\n"), Some((answer, 1_200)));
        for half in [
            "5 9 12",
            "5 9\n",
            "5 9 12 4\n",
            "",
            "\n",
            "a b c\n",
            "5 9 1\n\n",
        ] {
            assert_eq!(parse(half.as_bytes()), None, "{half}");
        }
    }

    #[test]
    fn a_quota_bounds_by_its_hard_limit_else_by_its_soft_one_and_without_either_is_none() {
        let limit = |limits| of_quota(Some(7), limits).map(|answer| answer.limit_bytes);
        assert_eq!(limit((Some(2_000), Some(1_000))), Some(2_048_000));
        assert_eq!(limit((Some(0), Some(1_000))), Some(1_024_000));
        assert_eq!(limit((Some(0), Some(0))), None);
        assert_eq!(limit((None, None)), None);
        assert_eq!(of_quota(None, (Some(1), None)), None);
    }
}
