//! Ways of connecting that are measured.

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
}

// === impl Carrier ===

impl Carrier {
    /// For the table's head.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Tls => "TLS, CA file",
            Self::Roots => "TLS, machine's roots",
        }
    }

    /// Scheme of the collector's address.
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::Plain => "grpc",
            Self::Tls | Self::Roots => "grpcs",
        }
    }
}
