//! What the collector proves itself with: the admin's certificate, or a key of its own.
//!
//! Without files in the settings the collector makes a key at first start and keeps it in its data
//! directory. Agents that were given the key's fingerprint (`grpcs://host:port#sha256:…`) trust
//! that key and nothing else, so nobody has to run an authority. Files are read again when they
//! change: certificates that are renewed every few weeks need no restart.

use std::{
    fmt, fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use parking_lot::RwLock;
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use sha2::{Digest as _, Sha256};

use crate::config::Tls;

/// The own key, in the data directory.
const KEY_FILE: &str = "link-key.pem";

/// The fingerprint beside it, for whoever writes the agents' settings.
const PIN_FILE: &str = "link.pin";

/// The name in the own certificate. Agents pin the key and look at no name.
const OWN_NAME: &str = "hubmeter";

/// HTTP/2 and nothing else.
const ALPN: &[u8] = b"h2";

/// SHA-256 of a public key (its `SubjectPublicKeyInfo`): the same for every certificate of the key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pin([u8; 32]);

/// The collector's certificate, as it is now.
#[derive(Debug)]
pub struct Certificate {
    source: Source,
    current: Arc<Current>,
}

#[derive(Debug)]
enum Source {
    Own,
    Files { tls: Tls, read: RwLock<Stamps> },
}

/// When the files were last written.
type Stamps = [Option<SystemTime>; 2];

/// What handshakes use: replaced whole.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read or written.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{} holds no {what} in PEM", path.display())]
    Content {
        /// Which one.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// Certificate and key are not a pair, or of a kind that is not spoken.
    #[error("certificate and key do not fit: {0}")]
    Unfit(#[from] rustls::Error),
    /// The own certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

// === impl Certificate ===

impl Certificate {
    /// The one in the admin's files.
    ///
    /// # Errors
    /// They cannot be read, or are not a pair.
    pub fn of_files(tls: &Tls) -> Result<Self, CertificateError> {
        let stamps = stamps(tls);
        let key = Arc::new(pair(tls)?);
        Ok(Self {
            source: Source::Files {
                tls: tls.clone(),
                read: RwLock::new(stamps),
            },
            current: Arc::new(Current(RwLock::new(key))),
        })
    }

    /// The collector's own, made at first start; its fingerprint is written beside the key.
    ///
    /// # Errors
    /// The data directory cannot be used, or what is in it is not a key.
    pub fn own(data_dir: &Path) -> Result<(Self, Pin), CertificateError> {
        let path = data_dir.join(KEY_FILE);
        let key = match fs::read_to_string(&path) {
            Ok(text) => KeyPair::from_pem(&text).map_err(|_| CertificateError::Content {
                path: path.clone(),
                what: "private key",
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = KeyPair::generate()?;
                write_new(&path, &key.serialize_pem())?;
                key
            }
            Err(source) => return Err(CertificateError::File { path, source }),
        };
        let pin = Pin(Sha256::digest(key.subject_public_key_info()).into());
        let certificate = CertificateParams::new([OWN_NAME.to_owned()])?.self_signed(&key)?;
        let certified = CertifiedKey::from_der(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            &ring::default_provider(),
        )?;
        let pin_path = data_dir.join(PIN_FILE);
        fs::write(&pin_path, format!("{pin}\n")).map_err(|source| CertificateError::File {
            path: pin_path,
            source,
        })?;
        let own = Self {
            source: Source::Own,
            current: Arc::new(Current(RwLock::new(Arc::new(certified)))),
        };
        Ok((own, pin))
    }

    /// How the link's TLS is spoken.
    ///
    /// # Errors
    /// The crypto provider knows no protocol version we speak.
    pub fn server_config(&self) -> Result<ServerConfig, CertificateError> {
        let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Agents that come back after a restart of ours skip the dear half of the handshake.
        config.ticketer = ring::Ticketer::new()?;
        Ok(config)
    }

    /// Reads the files again if they were written since. What does not fit is not used: the
    /// certificate there was goes on. True when another one is in use now.
    ///
    /// # Errors
    /// The new files are unusable.
    pub fn renew(&self) -> Result<bool, CertificateError> {
        let Source::Files { tls, read } = &self.source else {
            return Ok(false);
        };
        let now = stamps(tls);
        if *read.read() == now {
            return Ok(false);
        }
        let key = Arc::new(pair(tls)?);
        *self.current.0.write() = key;
        *read.write() = now;
        Ok(true)
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

fn stamps(tls: &Tls) -> Stamps {
    let written = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    [written(&tls.cert_file), written(&tls.key_file)]
}

fn pair(tls: &Tls) -> Result<CertifiedKey, CertificateError> {
    let read = |path: &Path| {
        fs::read(path).map_err(|source| CertificateError::File {
            path: path.to_owned(),
            source,
        })
    };
    let content = |path: &Path, what| CertificateError::Content {
        path: path.to_owned(),
        what,
    };
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&read(&tls.cert_file)?)
            .collect::<Result<_, _>>()
            .map_err(|_| content(&tls.cert_file, "certificate"))?;
    if chain.is_empty() {
        return Err(content(&tls.cert_file, "certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&tls.key_file)?)
        .map_err(|_| content(&tls.key_file, "private key"))?;
    Ok(CertifiedKey::from_der(
        chain,
        key,
        &ring::default_provider(),
    )?)
}

/// Writes a file that only we may read; a crash in between leaves no half of it under its name.
fn write_new(path: &Path, text: &str) -> Result<(), CertificateError> {
    let failed = |source| CertificateError::File {
        path: path.to_owned(),
        source,
    };
    let unfinished = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&unfinished, path).map_err(failed)
}

// === impl Pin ===

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn write_pair(dir: &Path, name: &str) -> Tls {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let tls = Tls {
            cert_file: dir.join("cert.pem"),
            key_file: dir.join("key.pem"),
        };
        fs::write(&tls.cert_file, certificate.pem()).unwrap();
        fs::write(&tls.key_file, key.serialize_pem()).unwrap();
        tls
    }

    fn shown(certificate: &Certificate) -> Vec<u8> {
        let current = certificate.current.0.read();
        current.end_entity_cert().unwrap().to_vec()
    }

    #[test]
    fn the_own_key_is_made_once_and_only_its_owner_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let (_, first) = Certificate::own(dir.path()).unwrap();
        let (_, second) = Certificate::own(dir.path()).unwrap();
        assert_eq!(first, second);
        let mode = fs::metadata(dir.path().join(KEY_FILE))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let told = fs::read_to_string(dir.path().join(PIN_FILE)).unwrap();
        assert_eq!(told, format!("{first}\n"));
        assert_eq!(told.trim().len(), "sha256:".len() + 64);
    }

    #[test]
    fn a_damaged_key_is_named_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(KEY_FILE), "not a key").unwrap();
        let error = Certificate::own(dir.path()).unwrap_err().to_string();
        assert!(error.contains("link-key.pem"), "{error}");
        assert_eq!(
            fs::read_to_string(dir.path().join(KEY_FILE)).unwrap(),
            "not a key"
        );
    }

    #[test]
    fn renewed_files_are_taken_and_unusable_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let tls = write_pair(dir.path(), "one");
        let certificate = Certificate::of_files(&tls).unwrap();
        let first = shown(&certificate);
        assert!(!certificate.renew().unwrap(), "nothing changed");

        let later = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        let touch = |path: &Path, to: SystemTime| {
            fs::File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_modified(to)
                .unwrap();
        };
        write_pair(dir.path(), "two");
        touch(&tls.cert_file, later);
        assert!(certificate.renew().unwrap());
        let second = shown(&certificate);
        assert_ne!(first, second);

        fs::write(&tls.key_file, "no key").unwrap();
        touch(&tls.key_file, later);
        assert!(certificate.renew().is_err());
        assert_eq!(shown(&certificate), second, "the old one goes on");
    }

    #[test]
    fn files_that_are_no_pair_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let tls = write_pair(dir.path(), "one");
        fs::write(&tls.key_file, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert!(matches!(
            Certificate::of_files(&tls),
            Err(CertificateError::Unfit(_))
        ));
        let gone = Tls {
            cert_file: dir.path().join("nowhere.pem"),
            ..tls
        };
        let error = Certificate::of_files(&gone).unwrap_err().to_string();
        assert!(error.contains("nowhere.pem"), "{error}");
    }
}
