//! Proof of who we are: the server's own hub token.
//!
//! It leaves this process as `authorization` header and in no other way: `Debug` hides it, and
//! there is no `Display` or `Serialize`.

use std::{fmt, path::PathBuf};

use hyper::header::HeaderValue;

use super::renewed;

/// Bytes of a token; a hub's are 32 characters, JSON web tokens a few kilobytes.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Where the token is found.
#[derive(Clone)]
pub struct Credential {
    file: Option<PathBuf>,
    token: Option<String>,
}

/// Why there is no usable token.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file cannot be read.
    #[error("cannot read the token file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Empty, too long, or with characters no header may carry.
    #[error(
        "the token is empty, longer than {TOKEN_BYTES_MAX} bytes, or has unprintable characters"
    )]
    Malformed,
}

// === impl Credential ===

impl Credential {
    /// A token file is preferred to the token itself: it can be renewed while we run.
    #[must_use]
    pub fn new(file: Option<PathBuf>, token: Option<String>) -> Self {
        Self { file, token }
    }

    /// The file it is read from, if one was named.
    pub(crate) fn file(&self) -> Option<&std::path::Path> {
        self.file.as_deref()
    }

    /// The `authorization` header; `None` where nobody gave us a token, as on a machine
    /// without a hub.
    ///
    /// # Errors
    /// A token that was promised but cannot be read or sent.
    pub(crate) async fn authorization(&self) -> Result<Option<HeaderValue>, CredentialError> {
        let from_file;
        let token = match (&self.file, &self.token) {
            (Some(path), _) => {
                // With the end of its line.
                let read = renewed::read(path, TOKEN_BYTES_MAX + 2).await;
                from_file = read.map_err(|source| CredentialError::Read {
                    path: path.clone(),
                    source,
                })?;
                str::from_utf8(&from_file)
                    .map_err(|_| CredentialError::Malformed)?
                    .trim()
            }
            (None, Some(token)) => token.trim(),
            (None, None) => return Ok(None),
        };
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Err(CredentialError::Malformed);
        }
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| CredentialError::Malformed)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("file", &self.file)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_is_never_shown() {
        let credential = Credential::new(None, Some("s3cret".to_owned()));
        let metadata = credential.authorization().await.unwrap();
        for shown in [format!("{credential:?}"), format!("{metadata:?}")] {
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }

    #[tokio::test]
    async fn the_file_is_read_anew_each_time_and_wins_over_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let credential = Credential::new(Some(file.clone()), Some("old".to_owned()));
        assert!(matches!(
            credential.authorization().await,
            Err(CredentialError::Read { .. })
        ));
        for token in ["one", "two"] {
            std::fs::write(&file, format!("{token}\n")).unwrap();
            let value = credential.authorization().await.unwrap().unwrap();
            assert_eq!(value.to_str().unwrap(), format!("Bearer {token}"));
        }
    }

    #[tokio::test]
    async fn without_a_token_nothing_is_sent() {
        assert!(
            Credential::new(None, None)
                .authorization()
                .await
                .unwrap()
                .is_none()
        );
        assert!(
            Credential::new(None, Some("a\nb".to_owned()))
                .authorization()
                .await
                .is_err()
        );
        assert!(
            Credential::new(None, Some("  ".to_owned()))
                .authorization()
                .await
                .is_err()
        );
    }
}
