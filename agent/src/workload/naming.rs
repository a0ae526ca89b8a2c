//! What of a name leaves the agent: bounded, without control characters, as far as allowed.

use std::path::Path;

use hubmeter_proto::limits::LABEL_BYTES_MAX;

use super::Names;

/// What VS Code puts between a notebook's name and a UUID, when it opens a session for it on a
/// Jupyter server.
const VS_CODE: &str = "-jvsc-";

/// Characters of a UUID, with its dashes or without.
const UUID_CHARS: std::ops::RangeInclusive<usize> = 32..=36;

// === impl Names ===

impl Names {
    /// A name as it may be shown.
    pub(crate) fn shown(self, name: &str) -> String {
        match self {
            Names::None => String::new(),
            Names::Base | Names::Full => label(name),
        }
    }

    /// A notebook as it may be shown.
    pub(crate) fn shown_path(self, path: &str) -> Option<String> {
        let path = without_vs_code(path);
        match self {
            Names::None => None,
            Names::Full => Some(path_label(&path)),
            Names::Base => Path::new(&path)
                .file_name()
                .map(|name| label(&name.to_string_lossy())),
        }
    }
}

/// A string fit to leave: bounded, without control characters.
pub(crate) fn label(text: &str) -> String {
    let mut label = String::new();
    for c in text.chars() {
        let c = if c.is_control() { '\u{fffd}' } else { c };
        if label.len() + c.len_utf8() > LABEL_BYTES_MAX {
            break;
        }
        label.push(c);
    }
    label
}

/// A path fit to leave: of one that is too long the end, which tells most.
fn path_label(path: &str) -> String {
    const CUT: &str = "…";
    if path.len() <= LABEL_BYTES_MAX {
        return label(path);
    }
    let from = path.ceil_char_boundary(path.len() - (LABEL_BYTES_MAX - CUT.len()));
    let end = path.get(from..).unwrap_or_default();
    label(&format!("{CUT}{end}"))
}

/// `a.ipynb` of `a-jvsc-<uuid>.ipynb` and of `a.ipynb-jvsc-<uuid>`, with or without an ending.
fn without_vs_code(path: &str) -> String {
    let cleaned = path.rsplit_once(VS_CODE).and_then(|(name, rest)| {
        let uuid = rest.find(|c: char| !c.is_ascii_hexdigit() && c != '-');
        let (uuid, ending) = rest.split_at(uuid.unwrap_or(rest.len()));
        let is_ending = ending.is_empty() || (ending.starts_with('.') && !ending.contains('/'));
        if !UUID_CHARS.contains(&uuid.len()) || !is_ending || name.is_empty() {
            return None;
        }
        let has_ending =
            Path::new(name).extension() == Path::new("x").with_extension("ipynb").extension();
        Some(if has_ending {
            name.to_owned()
        } else {
            format!("{name}{ending}")
        })
    });
    cleaned.unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "0b9a2f6e-1f7e-4b62-9a43-d41f2e6b0a11";

    #[test]
    fn vs_codes_sessions_are_shown_by_the_notebooks_own_name() {
        for (path, shown) in [
            (
                format!("Untitled-1.ipynb-jvsc-{UUID}.ipynb"),
                "Untitled-1.ipynb",
            ),
            (format!("/home/jo/train-jvsc-{UUID}.ipynb"), "train.ipynb"),
            (format!("a/train.ipynb-jvsc-{UUID}"), "train.ipynb"),
            (
                format!("train-jvsc-{}.ipynb", UUID.replace('-', "")),
                "train.ipynb",
            ),
            (format!("a-jvsc-b-jvsc-{UUID}.ipynb"), "a-jvsc-b.ipynb"),
            // Somebody's own name.
            ("notes-jvsc-1.ipynb".to_owned(), "notes-jvsc-1.ipynb"),
            (format!("-jvsc-{UUID}.ipynb/x.ipynb"), "x.ipynb"),
        ] {
            assert_eq!(
                Names::Base.shown_path(&path).as_deref(),
                Some(shown),
                "{path}"
            );
        }
        let full = Names::Full.shown_path(&format!("deep/train-jvsc-{UUID}.ipynb"));
        assert_eq!(full.as_deref(), Some("deep/train.ipynb"));
    }

    #[test]
    fn of_a_long_path_the_file_is_kept() {
        let path = format!("{}/train.ipynb", "d\u{e9}p/".repeat(60));
        let shown = Names::Full.shown_path(&path).unwrap();
        assert!(shown.len() <= LABEL_BYTES_MAX && shown.len() > LABEL_BYTES_MAX - 4);
        assert!(
            shown.starts_with('…') && shown.ends_with("/train.ipynb"),
            "{shown}"
        );
    }

    #[test]
    fn a_label_is_cut_between_characters_and_holds_no_control_character() {
        assert_eq!(label("a\nb"), "a\u{fffd}b");
        let long = label(&"\u{20ac}".repeat(200));
        assert!(long.len() <= LABEL_BYTES_MAX && long.chars().all(|c| c == '\u{20ac}'));
    }
}
