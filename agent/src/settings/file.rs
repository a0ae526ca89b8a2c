//! `/etc/hubmeter/agent.toml`: keys and texts, each with its line. All mistakes at once.

use std::{io, ops::Range, path::Path};

use toml::de::{DeTable, DeValue};

use super::{KEYS, Mistake};

/// Bytes of the file; a dozen keys take a thousandth of that.
const BYTES_MAX: u64 = 64 * 1024;

/// One key that the file sets.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) text: String,
    pub(super) line: usize,
}

/// What `path` says; a missing file says nothing.
pub(super) fn read(path: &Path) -> (Vec<Entry>, Vec<Mistake>) {
    match read_text(path) {
        Ok(text) => parse(path, &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), Vec::new()),
        Err(error) => {
            let mistake = Mistake {
                source_name: path.display().to_string(),
                reason: error.to_string(),
                by_flag: false,
            };
            (Vec::new(), vec![mistake])
        }
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    io::Read::read_to_string(&mut io::Read::take(file, BYTES_MAX + 1), &mut text)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(io::Error::other(format!(
            "it has more than {BYTES_MAX} bytes"
        )));
    }
    Ok(text)
}

fn parse(path: &Path, text: &str) -> (Vec<Entry>, Vec<Mistake>) {
    let line_of = |span: Range<usize>| {
        let before = text.get(..span.start).unwrap_or(text);
        before.bytes().filter(|byte| *byte == b'\n').count() + 1
    };
    let mistake = |line: usize, reason: String| Mistake {
        source_name: format!("{}:{line}", path.display()),
        reason,
        by_flag: false,
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut mistakes: Vec<_> = errors
        .iter()
        .map(|error| {
            let line = line_of(error.span().unwrap_or(0..0));
            (line, error.message().to_owned())
        })
        .collect();
    let mut entries = Vec::new();
    for (key, value) in table.get_ref() {
        let line = line_of(key.span());
        let key = key.get_ref().as_ref();
        if !KEYS.contains(&key) {
            let known = KEYS.join(", ");
            mistakes.push((line, format!("`{key}` is not one of {known}")));
            continue;
        }
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.as_str().to_owned(),
            DeValue::Float(number) => number.as_str().to_owned(),
            DeValue::Boolean(yes) => yes.to_string(),
            other => {
                let what = other.type_str();
                mistakes.push((
                    line,
                    format!("`{key}` is text, a number or a truth value, not {what}"),
                ));
                continue;
            }
        };
        entries.push(Entry {
            key: key.to_owned(),
            text,
            line,
        });
    }
    mistakes.sort_by_key(|(line, _)| *line);
    let mistakes = mistakes
        .into_iter()
        .map(|(line, reason)| mistake(line, reason))
        .collect();
    (entries, mistakes)
}
