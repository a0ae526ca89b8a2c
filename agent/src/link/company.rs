//! When the collector's small messages are read: in company of a tick.
//!
//! A receipt, or the answer to a ping, changes nothing that anybody waits for, and to be woken for
//! it alone costs as much as half a tick: processor caches have forgotten us by then. So the kernel
//! is told to wake us for so many bytes only, and a tick that comes anyway looks whether fewer lie
//! there. What must not wait the collector makes long enough to wake us: it says how long in its
//! Welcome. One that says nothing wakes us with every byte, and so does any while ticks are far
//! apart: a ping wants its answer within ten seconds.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
};

use nix::{libc, setsockopt_impl, sys::socket::SetSockOpt as _, sys::socket::sockopt::SetStruct};
use parking_lot::Mutex;
use rustix::{
    io::{Errno, ioctl_fionread},
    net::{RecvFlags, recv},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tracing::debug;

/// Small messages wait for a tick that is this near: the usual interval, and some.
const COMPANY_MS_MAX: u64 = 6_000;

/// They are looked for this often, not at every tick of a second: shorter than the usual interval.
const LOOK_EVERY_MS: u64 = 4_500;

/// What a collector may ask for: more would fill our memory before we are woken.
const URGENT_BYTES_MAX: u32 = 4 * 1024;

/// Any byte wakes us.
const EVERY_BYTE: u32 = 1;

/// The least bytes for which the kernel says that there is something to read.
#[derive(Clone, Copy, Debug)]
struct LowWaterMark;

setsockopt_impl!(
    LowWaterMark,
    libc::SOL_SOCKET,
    libc::SO_RCVLOWAT,
    i32,
    SetStruct<i32>
);

/// What ticks and the link know of one connection.
#[derive(Debug)]
pub(super) struct Line {
    /// The same socket as the connection's, which alone reads and writes it.
    socket: OwnedFd,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What the collector makes messages that must not wait; any byte until it says so.
    urgent_bytes: u32,
    /// What the kernel was told.
    wakes_from_bytes: u32,
    looked_ms: u64,
    /// The next read asks the kernel, whatever it said.
    looks: bool,
    /// Bytes that came so far.
    heard_bytes: u64,
}

/// The line of the stream that lives, if it has one.
#[derive(Debug, Default)]
pub(super) struct Company(Mutex<Weak<Line>>);

/// A TCP connection whose small messages may wait.
#[derive(Debug)]
pub(super) struct Wire {
    tcp: TcpStream,
    line: Arc<Line>,
}

// === impl Line ===

impl Line {
    fn of(tcp: &TcpStream) -> io::Result<Self> {
        Ok(Self {
            socket: tcp.as_fd().try_clone_to_owned()?,
            state: Mutex::new(State {
                urgent_bytes: EVERY_BYTE,
                wakes_from_bytes: EVERY_BYTE,
                looked_ms: 0,
                looks: false,
                heard_bytes: 0,
            }),
        })
    }

    /// The collector makes what must not wait so long; 0 when it does not say.
    pub(super) fn make_urgent_from(&self, bytes: u32) {
        self.state.lock().urgent_bytes = bytes.clamp(EVERY_BYTE, URGENT_BYTES_MAX);
    }

    /// Nothing waits any more: no tick will come.
    pub(super) fn hurry(&self) {
        let mut state = self.state.lock();
        state.urgent_bytes = EVERY_BYTE;
        state.looks = true;
        self.wake_from(&mut state, EVERY_BYTE);
    }

    /// The next read asks the kernel, whatever it said.
    pub(super) fn look(&self) {
        self.state.lock().looks = true;
    }

    /// Whether the next read does.
    pub(super) fn looks(&self) -> bool {
        self.state.lock().looks
    }

    /// Bytes that came so far.
    pub(super) fn heard_bytes(&self) -> u64 {
        self.state.lock().heard_bytes
    }

    /// A tick began at `now_ms`, the next is due at `due_ms`. True when something lies there, to
    /// be read now.
    fn keep_company(&self, now_ms: u64, due_ms: u64) -> bool {
        let mut state = self.state.lock();
        let waits = due_ms.saturating_sub(now_ms) <= COMPANY_MS_MAX;
        let from = if waits {
            state.urgent_bytes
        } else {
            EVERY_BYTE
        };
        let held_back = state.wakes_from_bytes > EVERY_BYTE;
        if state.wakes_from_bytes != from {
            self.wake_from(&mut state, from);
        }
        if !held_back || (waits && now_ms.saturating_sub(state.looked_ms) < LOOK_EVERY_MS) {
            return false;
        }
        state.looked_ms = now_ms;
        state.looks = ioctl_fionread(&self.socket).is_ok_and(|bytes| bytes > 0);
        state.looks
    }

    fn wake_from(&self, state: &mut State, bytes: u32) {
        let mark = i32::try_from(bytes).unwrap_or(i32::MAX);
        match LowWaterMark.set(&self.socket, &mark) {
            Ok(()) => state.wakes_from_bytes = bytes,
            // Then it wakes us as it did before, which is right, only dearer.
            Err(error) => {
                debug!(%error, "small messages cannot wait");
                state.urgent_bytes = state.wakes_from_bytes;
            }
        }
    }

    /// What lies there, below the mark too, if that was asked for.
    fn read_if_asked(&self, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state.lock();
        if !std::mem::take(&mut state.looks) {
            return Poll::Pending;
        }
        let room = buffer.initialize_unfilled();
        let room_bytes = room.len();
        match recv(&self.socket, room, RecvFlags::DONTWAIT) {
            Ok((bytes, _)) => {
                buffer.advance(bytes);
                // More may lie there, of which nobody will say anything.
                state.looks = bytes == room_bytes;
                Poll::Ready(Ok(()))
            }
            Err(Errno::AGAIN | Errno::INTR) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}

// === impl Company ===

impl Company {
    /// This stream lives now.
    pub(super) fn join(&self, line: Option<&Arc<Line>>) {
        *self.0.lock() = line.map(Arc::downgrade).unwrap_or_default();
    }

    /// As [`Line::keep_company`], of the stream that lives.
    pub(super) fn keep(&self, now_ms: u64, due_ms: u64) -> bool {
        let line = self.0.lock().upgrade();
        line.is_some_and(|line| line.keep_company(now_ms, due_ms))
    }
}

// === impl Wire ===

impl Wire {
    /// Over `tcp`.
    pub(super) fn over(tcp: TcpStream) -> io::Result<Self> {
        let line = Arc::new(Line::of(&tcp)?);
        Ok(Self { tcp, line })
    }

    /// What ticks and the link know of it.
    pub(super) fn line(&self) -> &Arc<Line> {
        &self.line
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = match Pin::new(&mut self.tcp).poll_read(context, buffer) {
            Poll::Pending => ready!(self.line.read_if_asked(buffer)),
            Poll::Ready(read) => read,
        };
        let came = buffer.filled().len() - before;
        self.line.state.lock().heard_bytes += came as u64;
        Poll::Ready(read)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
