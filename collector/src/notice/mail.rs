//! Notices by mail.
//!
//! Headers are ours, recipients are the settings'; what a user chose appears in the subject (one
//! cleaned line) and in the bodies, nowhere else.

use std::time::{Duration, UNIX_EPOCH};

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{
        Mailbox, MultiPart,
        header::{Header, HeaderName, HeaderValue},
    },
    transport::smtp::{
        authentication::Credentials,
        client::{Tls, TlsParameters},
    },
};

use super::{MailConfig, MailSecurity, Notice};
use crate::text;

/// Time for one answer of the server.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for one mail, from connecting to its acceptance.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Hands mail to one SMTP server.
pub(super) struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

/// Why a mail could not be set up or handed over.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// A setting is not an address.
    #[error("notice.mail: {address:?} is not a mail address")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        source: lettre::address::AddressError,
    },
    /// Nobody is to be told.
    #[error("notice.mail: no recipient")]
    Nobody,
    /// TLS could not be prepared.
    #[error("notice.mail: cannot prepare TLS for {host}")]
    Tls {
        /// The server.
        host: String,
        /// What is wrong.
        source: lettre::transport::smtp::Error,
    },
    /// The message could not be put together.
    #[error("cannot compose a mail")]
    Compose(#[from] lettre::error::Error),
    /// The server did not take it.
    #[error("the mail server did not take it")]
    Refused(#[from] lettre::transport::smtp::Error),
    /// The server took too long.
    #[error("the mail server took longer than {} s", DELIVERY_TIMEOUT.as_secs())]
    TimedOut,
}

/// Tells out-of-office programs not to answer (RFC 3834).
#[derive(Clone)]
struct AutoSubmitted;

// === impl Mail ===

impl Mail {
    pub(super) fn new(config: &MailConfig) -> Result<Self, MailError> {
        let mailbox = |address: &String| {
            address
                .parse::<Mailbox>()
                .map_err(|source| MailError::Address {
                    address: address.clone(),
                    source,
                })
        };
        let to = config
            .to
            .iter()
            .map(mailbox)
            .collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() {
            return Err(MailError::Nobody);
        }
        let tls = || {
            TlsParameters::new(config.host.clone()).map_err(|source| MailError::Tls {
                host: config.host.clone(),
                source,
            })
        };
        let mut builder =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(config.host.as_str())
                .port(config.port)
                .timeout(Some(COMMAND_TIMEOUT))
                .tls(match config.security {
                    MailSecurity::Plain => Tls::None,
                    MailSecurity::StartTls => Tls::Required(tls()?),
                    MailSecurity::Tls => Tls::Wrapper(tls()?),
                });
        if let Some((username, password)) = config.username.clone().zip(config.password.clone()) {
            builder = builder.credentials(Credentials::new(username, password));
        }
        Ok(Self {
            transport: builder.build(),
            from: mailbox(&config.from)?,
            to,
        })
    }

    /// Returns once the server has taken it.
    pub(super) async fn send(&self, notice: &Notice, now_ms: i64) -> Result<(), MailError> {
        let message = self.compose(notice, now_ms)?;
        tokio::time::timeout(DELIVERY_TIMEOUT, self.transport.send(message))
            .await
            .map_err(|_| MailError::TimedOut)??;
        Ok(())
    }

    /// The message id is the same for every attempt, so that a mail program shows a repeated
    /// delivery once.
    fn compose(&self, notice: &Notice, now_ms: i64) -> Result<Message, MailError> {
        let domain = self.from.email.domain();
        let id = format!(
            "<{}.{}@{domain}>",
            text::mail_header(&notice.verdict.episode),
            notice.phase.as_str()
        );
        let date = UNIX_EPOCH + Duration::from_millis(now_ms.max(0) as u64);
        let mut builder = Message::builder().from(self.from.clone());
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        let message = builder
            .date(date)
            .message_id(Some(id))
            .subject(text::mail_header(&notice.subject))
            .header(AutoSubmitted)
            .multipart(MultiPart::alternative_plain_html(
                notice.body_text.clone(),
                notice.body_html.clone(),
            ))?;
        Ok(message)
    }
}

// === impl AutoSubmitted ===

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}
