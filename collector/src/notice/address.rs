//! Where a user gets mail: a file of addresses, the hub's `auth_state`, or a template.
//!
//! A user's name is a claim of somebody: what it makes of a template must be one address, or there
//! is no mail. Nothing that an agent reports is ever an address.

use std::{
    collections::HashMap,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use lettre::{Address, message::Mailbox};
use parking_lot::Mutex;

use super::UserMailConfig;
use crate::hub::{HubError, client::HubClient};

/// Bytes of the file of addresses: 100,000 users.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Stands for the user's name in a template.
pub(crate) const PLACEHOLDER: &str = "{user}";

/// Knows where users get mail.
pub(super) struct Addresses {
    template: Option<String>,
    file: Option<PathBuf>,
    hub: Option<(HubClient, String)>,
    read: Mutex<Option<ReadFile>>,
}

/// The file as last read.
struct ReadFile {
    changed: Option<SystemTime>,
    addresses: Arc<HashMap<String, String>>,
}

/// Why a user's address is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum AddressError {
    /// The file of addresses.
    #[error("cannot read notice.user_mail.address_file {}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file of addresses is larger than any we expect.
    #[error("notice.user_mail.address_file {} has more than {FILE_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// Which one.
        path: PathBuf,
    },
    /// The hub did not tell.
    #[error("the hub does not tell a user's address")]
    Hub(#[from] HubError),
}

// === impl Addresses ===

impl Addresses {
    /// As `config` says; `hub` is whom to ask for `auth_state`.
    pub(super) fn new(config: &UserMailConfig, hub: Option<HubClient>) -> Self {
        Self {
            template: config.address.clone(),
            file: config.address_file.clone(),
            hub: hub.zip(config.auth_state_key.clone()),
            read: Mutex::default(),
        }
    }

    /// Where `user` gets mail; `None`: nowhere.
    pub(super) async fn of(&self, user: &str) -> Result<Option<Mailbox>, AddressError> {
        if let Some(path) = &self.file
            && let Some(address) = self.in_file(path)?.get(user)
        {
            return Ok(mailbox(address));
        }
        if let Some((hub, key)) = &self.hub
            && let Some(address) = hub.auth_state_word(user, key).await?
        {
            return Ok(mailbox(&address));
        }
        Ok(self
            .template
            .as_deref()
            .and_then(|template| filled(template, user)))
    }

    /// The file's addresses, read again when it changed.
    fn in_file(&self, path: &Path) -> Result<Arc<HashMap<String, String>>, AddressError> {
        let failed = |source| AddressError::File {
            path: path.to_owned(),
            source,
        };
        let file = std::fs::File::open(path).map_err(failed)?;
        let changed = file.metadata().and_then(|about| about.modified()).ok();
        let mut read = self.read.lock();
        if let Some(read) = read.as_ref()
            && changed.is_some()
            && read.changed == changed
        {
            return Ok(read.addresses.clone());
        }
        let mut text = String::new();
        let bytes = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
        if bytes.map_err(failed)? as u64 > FILE_BYTES_MAX {
            let path = path.to_owned();
            return Err(AddressError::TooLarge { path });
        }
        let addresses = Arc::new(addresses_of(&text));
        *read = Some(ReadFile {
            changed,
            addresses: addresses.clone(),
        });
        Ok(addresses)
    }
}

/// Lines of `user,address`; what follows `#` at a line's begin is for people. A user's name may
/// hold commas, an address here may not.
fn addresses_of(text: &str) -> HashMap<String, String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (user, address) = line.rsplit_once(',')?;
            Some((user.trim().to_owned(), address.trim().to_owned()))
        })
        .collect()
}

/// The template with `user` in it, if that makes one address.
fn filled(template: &str, user: &str) -> Option<Mailbox> {
    mailbox(&template.replace(PLACEHOLDER, user))
}

/// One plain address: no name beside it, no quotes, no comments, nothing that could end a line.
fn mailbox(address: &str) -> Option<Mailbox> {
    let plain = |c: char| !(c.is_control() || c.is_whitespace() || "\"\\<>(),:;[]".contains(c));
    if !address.chars().all(plain) {
        return None;
    }
    let address: Address = address.parse().ok()?;
    Some(Mailbox::new(None, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_template(template: &str, user: &str) -> Option<String> {
        Some(filled(template, user)?.email.to_string())
    }

    #[test]
    fn a_name_makes_one_address_or_none() {
        let at = "{user}@example.org";
        assert_eq!(
            from_template(at, "ann.o").as_deref(),
            Some("ann.o@example.org")
        );
        assert_eq!(
            from_template("{user}", "ann.o@x.org").as_deref(),
            Some("ann.o@x.org")
        );
        for hostile in [
            "a\r\nBcc: victim@example.org",
            "a@example.org, victim@example.org",
            "victim@evil.example",
            "a@b@c",
            "\"quoted\"",
            "a b",
            "<a>",
            "a;b",
            "(comment)a",
            "",
            ".",
            "a\0",
            "\u{202e}gpj",
            "a\u{2028}b",
        ] {
            let made = from_template(at, hostile);
            // What is left is at our domain and has nothing in it that a server could take apart.
            assert!(
                made.as_deref().is_none_or(|made| {
                    made.ends_with("@example.org") && made.matches('@').count() == 1
                }),
                "{hostile:?}: {made:?}"
            );
        }
        for hostile in ["victim@evil.example", "a, b", "a\r\nb", "\"q\"", ""] {
            assert_eq!(from_template(at, hostile), None, "{hostile:?}");
        }
    }

    #[tokio::test]
    async fn the_file_goes_before_the_template_and_may_say_that_there_is_no_mail() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("addresses");
        std::fs::write(&path, "# who, where\nann, a.o@x.org\nbob,\nd,e,d@x.org\n").unwrap();
        let config = UserMailConfig {
            address: Some("{user}@example.org".to_owned()),
            address_file: Some(path.clone()),
            ..UserMailConfig::default()
        };
        let addresses = Addresses::new(&config, None);
        let of = async |user| {
            let found = addresses.of(user).await.unwrap();
            found.map(|found| found.email.to_string())
        };
        assert_eq!(of("ann").await.as_deref(), Some("a.o@x.org"));
        assert_eq!(of("bob").await, None);
        assert_eq!(of("d,e").await.as_deref(), Some("d@x.org"));
        assert_eq!(of("eve").await.as_deref(), Some("eve@example.org"));
        std::fs::remove_file(&path).unwrap();
        let error = addresses.of("ann").await.unwrap_err();
        assert!(error.to_string().contains("address_file"), "{error}");
    }
}
