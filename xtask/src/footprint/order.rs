//! `cargo xtask footprint --order`: writes `agent/often.ld`, by which the static agent is linked,
//! from what valgrind sees run in ticks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use anyhow::{Context, Result, ensure};

use super::touched::{LINE_SHIFT, Ran};
use crate::{dist, process::output, progress::say, workspace::Workspace};

const HEAD: &str = "\
/*
 * What ticks execute, put together, and behind it what is executed once, when an agent starts and
 * connects. Between two ticks others have the processor's caches and tables of pages, so code costs
 * what it takes up in them; and what neither runs need not be resident. Written from what valgrind
 * saw run (`cargo xtask footprint --order`). A name that matches nothing breaks nothing, so it need
 * not follow every change.
 */
SECTIONS
{
  .text.often :
  {
";

const BETWEEN: &str = "\
  }
  .text.once :
  {
";

const TAIL: &str = "\
  }
}
INSERT BEFORE .text;
";

/// Where a program begins, and so what valgrind sees first.
const ENTRY: &str = "_start";

/// What shares its section with all else of its file, and cannot be moved.
const OF_C: fn(&str) -> bool = |name| !name.starts_with('_');

/// A function of the program.
struct Function {
    begins: u64,
    ends: u64,
    name: String,
}

/// Writes what ran of `program`, which has its symbols.
pub(super) fn write(space: &Workspace, program: &Path, ran: &Ran) -> Result<()> {
    let functions = functions(program)?;
    let entry = functions.iter().find(|function| function.name == ENTRY);
    let entry = entry.with_context(|| format!("no {ENTRY} in {}", program.display()))?;
    let moved_by = ran.first.wrapping_sub(entry.begins);
    let often = names(&functions, moved_by, &ran.often);
    let once = names(&functions, moved_by, &ran.before);
    ensure!(!often.is_empty(), "nothing that ran has a name");
    let mut text = HEAD.to_owned();
    put(&mut text, often.iter());
    text.push_str(BETWEEN);
    put(&mut text, once.difference(&often));
    text.push_str(TAIL);
    let order = space.root.join(dist::OFTEN);
    fs::write(&order, text).with_context(|| format!("cannot write {}", order.display()))?;
    say(&format!(
        "{}: {} functions run in ticks, {} before; cargo does not see that it changed: touch \
         agent/src/main.rs",
        order.display(),
        often.len(),
        once.difference(&often).count()
    ));
    Ok(())
}

fn put<'a>(text: &mut String, names: impl Iterator<Item = &'a String>) {
    for name in names {
        let _ = writeln!(text, "    *(.text.{name})");
    }
}

/// Names of those that lie in `lines`, without what changes from build to build where they are told
/// apart without it.
fn names(functions: &[Function], moved_by: u64, lines: &BTreeSet<u64>) -> BTreeSet<String> {
    let ran = |function: &&Function| {
        let line = |at: u64| at.wrapping_add(moved_by) >> LINE_SHIFT;
        let within = line(function.begins)..=line(function.ends - 1);
        lines.range(within).next().is_some()
    };
    let mut alike: BTreeMap<String, usize> = BTreeMap::new();
    for function in functions {
        *alike.entry(pattern(&function.name)).or_default() += 1;
    }
    let named = functions.iter().filter(ran).filter(|f| !OF_C(&f.name));
    named
        .map(|function| {
            let pattern = pattern(&function.name);
            // Of hundreds that differ by nothing else only those that ran are meant.
            match alike.get(&pattern) {
                Some(1) => pattern,
                _ => function.name.clone(),
            }
        })
        .collect()
}

/// `_ZN4core3fmt5write17h0123456789abcdefE` ends with a hash.
fn pattern(name: &str) -> String {
    match name.rsplit_once("17h") {
        Some((before, hash)) if hash.len() == 17 && hash.ends_with('E') => {
            format!("{before}17h*E")
        }
        _ => name.to_owned(),
    }
}

fn functions(program: &Path) -> Result<Vec<Function>> {
    let program = program.to_string_lossy();
    let said = output("nm", &["--defined-only", "--print-size", &program]);
    let said = said.context("nm (binutils) is needed to name what ran")?;
    Ok(said.lines().filter_map(function).collect())
}

/// `0000000000014a40 0000000000000017 t name`; what has no size is no function of ours, but for the
/// entry.
fn function(line: &str) -> Option<Function> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (begins, bytes, kind, name) = match words[..] {
        [begins, bytes, kind, name] => (begins, u64::from_str_radix(bytes, 16).ok()?, kind, name),
        [begins, kind, ENTRY] => (begins, 1, kind, ENTRY),
        _ => return None,
    };
    let begins = u64::from_str_radix(begins, 16).ok()?;
    (matches!(kind, "t" | "T" | "w" | "W") && bytes > 0).then(|| Function {
        begins,
        ends: begins + bytes,
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_is_named_by_its_place_and_without_its_hash() {
        let said = "0000000000001000 T _start\n\
                    0000000000001040 0000000000000080 t _ZN1a1b17h0123456789abcdefE\n\
                    00000000000010c0 0000000000000010 T memcpy\n\
                    0000000000001100 0000000000000040 t _RNvC1x1y\n\
                    0000000000001180 0000000000000040 t _ZN1c17h1111111111111111E\n\
                    00000000000011c0 0000000000000040 t _ZN1c17h2222222222222222E\n\
                    0000000000002000 0000000000000008 d _DATA\n";
        let functions: Vec<Function> = said.lines().filter_map(function).collect();
        assert_eq!(functions.len(), 6);
        let moved_by = 0x10_8000;
        let lines = |at: &[u64]| at.iter().map(|at| (at + moved_by) >> LINE_SHIFT).collect();
        let named = |at: &[u64]| {
            names(&functions, moved_by, &lines(at))
                .into_iter()
                .collect()
        };
        let both: Vec<String> = named(&[0x1080, 0x10c0, 0x1100]);
        assert_eq!(both, ["_RNvC1x1y", "_ZN1a1b17h*E"]);
        assert!(Vec::<String>::is_empty(&named(&[0x10c0])));
        assert_eq!(named(&[0x1180]), ["_ZN1c17h1111111111111111E"]);
    }
}
