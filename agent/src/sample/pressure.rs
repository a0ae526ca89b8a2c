//! Waiting for memory: the kernel's pressure stall information, of the server's own cgroup or of
//! the machine.
//!
//! The machine's pressure is the server's only where the machine is the server's limit. Kernels
//! may have been built or started without it: then it is unknown, and not asked for again.

use std::{io, path::Path};

use nix::libc;

use super::{
    cgroup::Group,
    faults::{self, Fault},
    file::{Lasting, Page, is_gone},
    vitals::Pressure,
};

/// A whole, in hundredths of a percent.
const WHOLE_BP: u32 = 10_000;

/// Whose pressure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Under<'a> {
    /// The server's own cgroup; version 1 knows no pressure of a cgroup.
    Own(&'a Group),
    /// All of the machine.
    Machine,
    /// None that is the server's is told.
    Nobody,
}

/// Reads it at every tick through a descriptor that stays open.
#[derive(Debug, Default)]
pub(crate) struct PressureGauge {
    /// The cgroup; `None` is the machine.
    of: Option<Option<Group>>,
    file: Option<Lasting>,
}

// === impl Pressure ===

impl Pressure {
    /// From a pressure file's text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(pressure) = Self::parse_usual(text) {
            return Some(pressure);
        }
        let share = |who: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(who))?;
            let mut fields = line.split_ascii_whitespace();
            let share = fields.find_map(|field| field.strip_prefix("avg10="))?;
            Some(hundredths(share)?.min(WHOLE_BP))
        };
        Some(Self {
            some_bp: share("some ")?,
            full_bp: share("full ")?,
        })
    }

    /// In the order in which kernels write it.
    fn parse_usual(text: &str) -> Option<Self> {
        let (some, rest) = text.strip_prefix("some avg10=")?.split_once(' ')?;
        let (_, rest) = rest.split_once('\n')?;
        let (full, _) = rest.strip_prefix("full avg10=")?.split_once(' ')?;
        Some(Self {
            some_bp: hundredths(some)?.min(WHOLE_BP),
            full_bp: hundredths(full)?.min(WHOLE_BP),
        })
    }
}

// === impl PressureGauge ===

impl PressureGauge {
    /// The pressure now. `keep` says whether the descriptor may stay open.
    pub(crate) fn read(
        &mut self,
        under: Under<'_>,
        proc_root: &Path,
        keep: bool,
        page: &mut Page,
    ) -> Option<Pressure> {
        let group = match under {
            Under::Own(group) => Some(group),
            Under::Machine => None,
            Under::Nobody => {
                *self = Self::default();
                return None;
            }
        };
        if self.of.as_ref().map(Option::as_ref) != Some(group) {
            let path = group.map_or_else(
                || proc_root.join("pressure/memory"),
                |group| group.file("memory.pressure"),
            );
            self.of = Some(group.cloned());
            self.file = Some(Lasting::new(path, keep));
        }
        let file = self.file.as_mut()?;
        let text = match file.read(page) {
            Ok(text) => text,
            Err(error) => {
                if is_switched_off(&error) {
                    faults::note_as(Fault::Missing, file.path());
                } else {
                    faults::note(file.path(), &error);
                }
                if is_final(&error) {
                    self.file = None;
                }
                return None;
            }
        };
        let pressure = std::str::from_utf8(text).ok().and_then(Pressure::parse);
        if pressure.is_none() {
            faults::note_as(Fault::Malformed, file.path());
        }
        pressure
    }
}

/// Whether the kernel could tell of pressure, and was told not to.
fn is_switched_off(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EOPNOTSUPP)
}

/// Whether asking again would be answered the same.
fn is_final(error: &io::Error) -> bool {
    let denied = error.kind() == io::ErrorKind::PermissionDenied;
    denied || is_gone(error) || is_switched_off(error)
}

/// A decimal number as the kernel writes load and pressure, always with two digits behind the
/// point, in hundredths.
pub(crate) fn hundredths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.')?;
    let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    let part: u32 = digits.then(|| part.parse().ok())??;
    whole
        .parse::<u32>()
        .ok()?
        .checked_mul(100)?
        .checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ten_seconds_are_read_and_half_a_text_is_unknown() {
        // Linux 6.18 under load.
        let text = "some avg10=4.93 avg60=1.38 avg300=0.31 total=1203482\n\
            full avg10=3.07 avg60=0.90 avg300=0.20 total=817201\n";
        let expected = Pressure {
            some_bp: 493,
            full_bp: 307,
        };
        assert_eq!(Pressure::parse(text), Some(expected));
        let calm = text.replace("4.93", "0.00").replace("3.07", "0.00");
        assert_eq!(Pressure::parse(&calm).unwrap().some_bp, 0);
        for unknown in [
            "",
            "some avg10=1.00 avg60=1.00",
            "some avg60=1.00\nfull avg60=1.00\n",
        ] {
            assert_eq!(Pressure::parse(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn hundredths_are_exact_and_what_is_no_number_is_none() {
        for (text, expected) in [
            ("0.00", Some(0)),
            ("0.07", Some(7)),
            ("99.99", Some(9_999)),
            ("1234.50", Some(123_450)),
            ("1", None),
            ("1.5", None),
            ("-0.10", None),
            ("1.+5", None),
            (".50", None),
            ("99999999999.00", None),
        ] {
            assert_eq!(hundredths(text), expected, "{text}");
        }
    }
}
