//! Tests that passed only at their second attempt: let through, and named where everybody looks.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::progress::say;

/// What nextest puts before one.
const NEXTEST_MARK: &str = "FLAKY ";

/// The end of Playwright's headline above them.
const PLAYWRIGHT_HEAD: &str = " flaky";

/// Names the tests of a run that was passed in the end.
///
/// # Errors
///
/// When the run's log cannot be read.
pub(crate) fn tell(log: &Path) -> Result<()> {
    let text = fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    for name in names(&text) {
        say(&format!("     flaky, passed at the second attempt: {name}"));
    }
    Ok(())
}

fn names(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut below_head = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(rest) = trimmed.strip_prefix(NEXTEST_MARK) {
            // `2/2 [   0.006s] (2/2) package test`
            found.extend(rest.rsplit_once(") ").map(|(_, name)| name));
        } else if is_head(trimmed) {
            below_head = true;
        } else if below_head && line.starts_with("    ") {
            found.push(trimmed.trim_end_matches('─').trim_end());
        } else {
            below_head = false;
        }
    }
    found
}

/// `1 flaky`
fn is_head(line: &str) -> bool {
    let count = line.strip_suffix(PLAYWRIGHT_HEAD);
    count.is_some_and(|count| !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nextest_calls_flaky_is_named() {
        let log = "  TRY 2 PASS [   0.006s] (2/2) fl now_and_then\n────────────\n     \
                   Summary [   1.035s] 2 tests run: 2 passed (1 flaky), 0 skipped\n   \
                   FLAKY 2/2 [   0.006s] (2/2) fl::run now_and_then\n";
        assert_eq!(names(log), ["fl::run now_and_then"]);
    }

    #[test]
    fn what_playwright_calls_flaky_is_named_and_nothing_else() {
        let log = "  ✓  3 specs/a.spec.ts:3:1 › passes at last (retry #1) (11ms)\n\n\n  \
                   1) specs/a.spec.ts:3:1 › passes at last ─────\n\n    Error: expect\n\n  \
                   1 flaky\n    specs/a.spec.ts:3:1 › passes at last ──────\n  1 passed (6.9s)\n";
        assert_eq!(names(log), ["specs/a.spec.ts:3:1 › passes at last"]);
    }

    #[test]
    fn a_run_that_passed_at_once_names_nobody() {
        assert!(names("Running 2 tests using 1 worker\n  2 passed (27.4s)\n").is_empty());
        assert!(names("    PASS [   0.010s] (1/2) fl says_1 flaky\n").is_empty());
    }
}
