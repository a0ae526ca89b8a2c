//! How a stream was refused or ended, in gRPC's words, whatever carries it.

use std::borrow::Cow;

/// Why there is no stream, or none any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::link) struct Status {
    code: Code,
    message: Cow<'static, str>,
}

/// gRPC's kinds of trouble that somebody here says or tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::link) enum Code {
    Cancelled,
    Unknown,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Unimplemented,
    Internal,
    Unavailable,
    Unauthenticated,
}

// === impl Code ===

impl Code {
    /// Of a `grpc-status` other than 0; one that nobody here tells apart is `Unknown`.
    pub(super) fn of_number(number: &[u8]) -> Self {
        match number {
            b"1" => Self::Cancelled,
            b"3" => Self::InvalidArgument,
            b"5" => Self::NotFound,
            b"7" => Self::PermissionDenied,
            b"8" => Self::ResourceExhausted,
            b"9" => Self::FailedPrecondition,
            b"12" => Self::Unimplemented,
            b"13" => Self::Internal,
            b"14" => Self::Unavailable,
            b"16" => Self::Unauthenticated,
            _ => Self::Unknown,
        }
    }

    /// Of a response that is not gRPC's: something between us and the collector made it.
    pub(super) fn of_http(status: u16) -> Self {
        match status {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }
}

// === impl Status ===

impl Status {
    pub(super) fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The connection is not there, or not any more.
    pub(in crate::link) fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Unavailable, message)
    }

    /// What came is no message.
    pub(in crate::link) fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Internal, message)
    }

    /// The token is not known there.
    pub(in crate::link) fn unauthenticated(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Unauthenticated, message)
    }

    /// Nobody there takes streams.
    pub(in crate::link) fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::NotFound, message)
    }

    pub(in crate::link) fn code(&self) -> Code {
        self.code
    }

    pub(in crate::link) fn message(&self) -> &str {
        &self.message
    }
}
