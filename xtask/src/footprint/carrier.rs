//! Ways of connecting that are measured.

use std::time::Duration;

use clap::ValueEnum;

/// How the stream is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Carrier {
    /// `grpc://` over loopback.
    Plain,
    /// `grpcs://` with a file that vouches for the collector.
    Tls,
    /// `grpcs://` by the machine's roots.
    Roots,
    /// `grpcs://` as it usually is: a sample every 5 s, nobody looks, reports go together.
    Held,
}

// === impl Carrier ===

impl Carrier {
    /// For the table's head.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Tls => "TLS, CA file",
            Self::Roots => "TLS, machine's roots",
            Self::Held => "TLS, every 5 s, reports held back",
        }
    }

    /// Leave to wait that the collector gives, as the real one does to whom nobody looks at.
    pub(crate) fn hold(self) -> Option<Duration> {
        (self == Self::Held).then_some(Duration::from_secs(55))
    }

    /// Seconds between samples, where `asked` are asked for.
    pub(crate) fn interval(self, asked: u32) -> u32 {
        if self == Self::Held { 5 } else { asked }
    }

    /// When memory is read, after the start, and between which moments all else is counted: whole
    /// rounds of sending where reports are held back.
    pub(crate) fn read_at(self) -> [Duration; 2] {
        match self {
            Self::Held => [Duration::from_secs(70), Duration::from_secs(190)],
            _ => [Duration::from_secs(10), Duration::from_secs(60)],
        }
    }

    /// Scheme of the collector's address.
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::Plain => "grpc",
            Self::Tls | Self::Roots | Self::Held => "grpcs",
        }
    }
}
