//! The batch job that the server runs in, as its environment tells.

use super::kernels::variable;

/// Times after this (the year 2286) are no ends of jobs: a job without a limit has a far one.
const END_S_MAX: u64 = 10_000_000_000;

/// When the job ends, milliseconds since the Unix epoch: Slurm sets it when the job starts. A
/// limit that was changed since is not in it.
pub(crate) fn ends_ms(environ: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(variable(environ, "SLURM_JOB_END_TIME")?).ok()?;
    let seconds: u64 = text.trim().parse().ok()?;
    (1..END_S_MAX)
        .contains(&seconds)
        .then(|| seconds.saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slurms_end_is_in_seconds_and_nonsense_is_no_end() {
        let of = |value: &str| ends_ms(format!("A=b\0SLURM_JOB_END_TIME={value}\0").as_bytes());
        assert_eq!(of("1792598400"), Some(1_792_598_400_000));
        for nonsense in ["", "0", "-1", "tomorrow", "4294967295000", "1.5"] {
            assert_eq!(of(nonsense), None, "{nonsense}");
        }
        assert_eq!(ends_ms(b"SLURM_JOB_ID=7\0"), None);
    }
}
