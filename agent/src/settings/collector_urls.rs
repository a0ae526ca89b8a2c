//! The collector's addresses, the one to be preferred first.

use std::fmt;

use super::collector_url::{CollectorUrl, CollectorUrlError};

/// Addresses of one collector: each carrier once, and a second name for either.
pub const ADDRESSES_MAX: usize = 4;

/// Where one collector can be reached: at least one address, the one to be preferred first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorUrls(Vec<CollectorUrl>);

/// Why the addresses are refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CollectorUrlsError {
    /// One of them is none.
    #[error(transparent)]
    Url(#[from] CollectorUrlError),
    /// The same one again.
    #[error("`{0}` is named twice")]
    Twice(String),
    /// More than anybody needs.
    #[error("{0} addresses, at most {ADDRESSES_MAX} are tried")]
    TooMany(usize),
}

// === impl CollectorUrls ===

impl CollectorUrls {
    /// Reads addresses with blanks between them. Plaintext beyond loopback is taken only with
    /// `allow_plaintext`.
    ///
    /// # Errors
    /// Says what to write instead.
    pub fn parse(text: &str, allow_plaintext: bool) -> Result<Self, CollectorUrlsError> {
        let mut urls = Vec::new();
        let texts = split(text);
        if texts.len() > ADDRESSES_MAX {
            return Err(CollectorUrlsError::TooMany(texts.len()));
        }
        for text in texts {
            let url = CollectorUrl::parse(text, allow_plaintext)?;
            if urls.contains(&url) {
                return Err(CollectorUrlsError::Twice(text.to_owned()));
            }
            urls.push(url);
        }
        Ok(Self(urls))
    }

    /// All of them, the one to be preferred first.
    #[must_use]
    pub fn as_slice(&self) -> &[CollectorUrl] {
        &self.0
    }
}

impl From<CollectorUrl> for CollectorUrls {
    fn from(url: CollectorUrl) -> Self {
        Self(vec![url])
    }
}

impl fmt::Display for CollectorUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, url) in self.0.iter().enumerate() {
            let blank = if i == 0 { "" } else { " " };
            write!(f, "{blank}{url}")?;
        }
        Ok(())
    }
}

/// At blanks that another address follows: a socket's path may hold some itself.
fn split(text: &str) -> Vec<&str> {
    let text = text.trim();
    let mut texts = Vec::new();
    let mut from = 0;
    for (at, blank) in text.char_indices().filter(|(_, c)| c.is_whitespace()) {
        let rest = &text[at + blank.len_utf8()..];
        let word = rest.split(char::is_whitespace).next().unwrap_or_default();
        if word.contains("://") {
            texts.push(text[from..at].trim_end());
            from = at + blank.len_utf8();
        }
    }
    texts.push(&text[from..]);
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let urls = CollectorUrls::parse(text, false).unwrap();
        urls.as_slice().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn several_addresses_keep_their_order() {
        let pinned = concat!(
            "grpcs://10.0.0.1:8443#sha256:",
            "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
        );
        let proxied = "wss://hub.example.org/services/hubmeter/link";
        for text in [
            format!("{pinned} {proxied}"),
            format!("  {pinned}\n\t {proxied} "),
        ] {
            assert_eq!(shown(&text), [pinned, proxied]);
        }
        let urls = CollectorUrls::parse(&format!("{proxied} {pinned}"), false).unwrap();
        assert_eq!(urls.to_string(), format!("{proxied} {pinned}"));
    }

    #[test]
    fn one_address_is_what_it_always_was_blanks_in_a_sockets_path_included() {
        for text in [
            "grpc://127.0.0.1:9000",
            "unix:///run/hub meter/link.sock",
            "unix:///run/a  b",
        ] {
            assert_eq!(shown(text), [text]);
        }
        assert_eq!(
            shown("unix:///run/a b grpcs://hub:1"),
            ["unix:///run/a b", "grpcs://hub:1"]
        );
    }

    #[test]
    fn one_bad_address_refuses_all_of_them_by_its_own_reason() {
        let refused = |text: &str| CollectorUrls::parse(text, false).unwrap_err();
        for text in [
            "",
            "hub:9000 grpcs://hub:1",
            "grpcs://hub:1 hub:2",
            "grpcs://hub:1 grpc://10.0.0.1:1",
            "grpcs://hub:1, wss://hub/link",
        ] {
            let error = refused(text);
            assert!(
                matches!(error, CollectorUrlsError::Url(_)),
                "{text}: {error}"
            );
        }
        assert!(matches!(
            refused("grpcs://hub:1 wss://hub/link grpcs://hub:1"),
            CollectorUrlsError::Twice(_)
        ));
        let many = |count: usize| {
            let urls: Vec<_> = (1..=count)
                .map(|port| format!("grpcs://hub:{port}"))
                .collect();
            CollectorUrls::parse(&urls.join(" "), false)
        };
        assert!(many(ADDRESSES_MAX - 1).is_ok());
        assert!(many(ADDRESSES_MAX).is_ok());
        assert!(matches!(
            many(ADDRESSES_MAX + 1),
            Err(CollectorUrlsError::TooMany(5))
        ));
    }
}
