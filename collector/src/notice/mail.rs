//! Notices by mail.
//!
//! Headers are ours, recipients are the settings' or what the settings make of a user's name; what a
//! user chose appears in the subject (one cleaned line) and in the bodies, nowhere else.

use std::time::{Duration, UNIX_EPOCH};

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{
        Attachment, Mailbox, MultiPart, SinglePart,
        header::{ContentType, Header, HeaderName, HeaderValue},
    },
    transport::smtp::{
        authentication::Credentials,
        client::{Tls, TlsParameters},
    },
};

use super::{Letter, MailConfig, MailSecurity, PICTURE_ID};
use crate::text;

/// Time for one answer of the server.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for one mail, from connecting to its acceptance.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Hands mail to one SMTP server.
pub(super) struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    admins: Vec<Mailbox>,
}

/// Who gets a mail.
pub(super) enum Receiver {
    /// The admins, all in one.
    Admins,
    /// One user.
    One(Mailbox),
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
    /// The kind of the picture is none.
    #[error("cannot add the picture to a mail")]
    Picture(#[from] lettre::message::header::ContentTypeErr),
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

// === impl MailError ===

impl MailError {
    /// It may be about this one mail: the server answered, or the mail is not for it to be had.
    pub(super) fn may_be_alone(&self) -> bool {
        matches!(self, Self::Refused(error) if error.status().is_some() || error.is_client())
    }
}

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
        let admins = config
            .to
            .iter()
            .map(mailbox)
            .collect::<Result<Vec<_>, _>>()?;
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
            admins,
        })
    }

    /// Whether there is an admin to be told.
    pub(super) fn has_admins(&self) -> bool {
        !self.admins.is_empty()
    }

    /// Returns once the server has taken it.
    pub(super) async fn send(
        &self,
        letter: &Letter,
        to: &Receiver,
        now_ms: i64,
    ) -> Result<(), MailError> {
        let message = self.compose(letter, to, now_ms)?;
        tokio::time::timeout(DELIVERY_TIMEOUT, self.transport.send(message))
            .await
            .map_err(|_| MailError::TimedOut)??;
        Ok(())
    }

    /// The message id is the same for every attempt, so that a mail program shows a repeated
    /// delivery once.
    fn compose(&self, letter: &Letter, to: &Receiver, now_ms: i64) -> Result<Message, MailError> {
        let domain = self.from.email.domain();
        let id = format!("<{}@{domain}>", text::mail_header(&letter.id));
        let date = UNIX_EPOCH + Duration::from_millis(now_ms.max(0) as u64);
        let mut builder = Message::builder().from(self.from.clone());
        let to = match to {
            Receiver::Admins => &self.admins[..],
            Receiver::One(user) => std::slice::from_ref(user),
        };
        for to in to {
            builder = builder.to(to.clone());
        }
        let html = SinglePart::html(letter.html.clone());
        let plain = SinglePart::plain(letter.text.clone());
        let body = MultiPart::alternative().singlepart(plain);
        let body = match &letter.picture {
            None => body.singlepart(html),
            Some(png) => {
                let picture = Attachment::new_inline(PICTURE_ID.to_owned());
                let picture = picture.body(png.clone(), ContentType::parse("image/png")?);
                body.multipart(MultiPart::related().singlepart(html).singlepart(picture))
            }
        };
        Ok(builder
            .date(date)
            .message_id(Some(id))
            .subject(text::mail_header(&letter.subject))
            .header(AutoSubmitted)
            .multipart(body)?)
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
