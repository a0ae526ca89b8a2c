//! The templates: ours, and those that an admin put in their place.

use std::{
    fs,
    path::{Path, PathBuf},
};

use minijinja::{AutoEscape, Environment, Value};

use super::words::capitalised;
use crate::{causes::chain, text};

/// Every template, by the name that a file of an admin's has.
const EMBEDDED: [(&str, &str); 10] = [
    ("sentence.txt", include_str!("../template/sentence.txt")),
    ("subject.txt", include_str!("../template/subject.txt")),
    ("mail.txt", include_str!("../template/mail.txt")),
    ("mail.html", include_str!("../template/mail.html")),
    ("digest.txt", include_str!("../template/digest.txt")),
    ("digest.html", include_str!("../template/digest.html")),
    ("warning.txt", include_str!("../template/warning.txt")),
    ("warning.html", include_str!("../template/warning.html")),
    ("message.txt", include_str!("../template/message.txt")),
    ("message.html", include_str!("../template/message.html")),
];

/// Bytes of a template.
const TEMPLATE_BYTES_MAX: u64 = 256 * 1024;

/// What a template may work before it is given up: a loop without an end is somebody's mistake.
const FUEL: u64 = 1_000_000;

/// Ours, and before them somebody else's.
pub(super) struct Templates {
    ours: Environment<'static>,
    theirs: Option<Environment<'static>>,
}

/// Why a notice could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A template is broken.
    #[error("cannot write a notice")]
    Template(#[from] minijinja::Error),
    /// The folder of templates cannot be read.
    #[error("notice.template_dir: cannot read {}", path.display())]
    Read {
        /// Folder or file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file in it is broken.
    #[error("notice.template_dir: {}: {source}", path.display())]
    Broken {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        source: minijinja::Error,
    },
    /// A file in it is none of the templates.
    #[error("notice.template_dir: {}: there is no template of that name, only {}", path.display(), names())]
    Unknown {
        /// Which one.
        path: PathBuf,
    },
    /// A file in it is too large.
    #[error("notice.template_dir: {}: more than {TEMPLATE_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// Which one.
        path: PathBuf,
    },
}

fn names() -> String {
    EMBEDDED.map(|(name, _)| name).join(", ")
}

// === impl Templates ===

impl Templates {
    /// Ours, and before them those in `dir`.
    pub(super) fn new(dir: Option<&Path>) -> Result<Self, RenderError> {
        let theirs = dir.map(theirs).transpose()?;
        Ok(Self {
            ours: embedded()?,
            theirs,
        })
    }

    /// Renders `name`.
    pub(super) fn render(&self, name: &str, values: &Value) -> Result<String, RenderError> {
        self.with(|templates| templates.get_template(name)?.render(values))
    }

    /// Runs `write` with their templates, with ours if those fail.
    pub(super) fn with(
        &self,
        write: impl Fn(&Environment<'static>) -> Result<String, minijinja::Error>,
    ) -> Result<String, RenderError> {
        if let Some(theirs) = &self.theirs {
            match write(theirs) {
                Ok(text) => return Ok(text),
                Err(error) => {
                    let error = chain(&error);
                    tracing::error!(
                        error,
                        "a template of notice.template_dir fails, ours is used"
                    );
                }
            }
        }
        Ok(write(&self.ours)?)
    }

    /// Renders `name` with nothing to fall back on.
    pub(super) fn only_theirs(self) -> Result<Self, RenderError> {
        match self.theirs {
            Some(theirs) => Ok(Self {
                ours: theirs,
                theirs: None,
            }),
            None => Ok(self),
        }
    }
}

fn embedded() -> Result<Environment<'static>, minijinja::Error> {
    let mut templates = Environment::new();
    templates.set_fuel(Some(FUEL));
    templates.set_auto_escape_callback(|name| {
        if name.ends_with(".html") {
            AutoEscape::Html
        } else {
            AutoEscape::None
        }
    });
    templates.set_formatter(|out, state, value| {
        if value.is_none() || value.is_undefined() {
            return Ok(());
        }
        let printed = value.to_string();
        let printed = match state.auto_escape() {
            AutoEscape::None => printed,
            _ => text::html(&printed),
        };
        out.write_str(&printed).map_err(minijinja::Error::from)
    });
    templates.add_filter("capitalised", |text: String| capitalised(&text));
    for (name, source) in EMBEDDED {
        templates.add_template(name, source)?;
    }
    Ok(templates)
}

fn theirs(dir: &Path) -> Result<Environment<'static>, RenderError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| RenderError::Read { path, source }
    };
    let mut templates = embedded()?;
    for entry in fs::read_dir(dir).map_err(unreadable(dir))? {
        let path = entry.map_err(unreadable(dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name.filter(|name| !name.starts_with('.') && !name.ends_with('~')) else {
            continue; // an editor's
        };
        if !EMBEDDED.iter().any(|(known, _)| *known == name) {
            return Err(RenderError::Unknown { path });
        }
        let bytes = fs::metadata(&path).map_err(unreadable(&path))?.len();
        if bytes > TEMPLATE_BYTES_MAX {
            return Err(RenderError::TooLarge { path });
        }
        let source = fs::read_to_string(&path).map_err(unreadable(&path))?;
        templates
            .add_template_owned(name.to_owned(), source)
            .map_err(|source| RenderError::Broken { path, source })?;
    }
    Ok(templates)
}
