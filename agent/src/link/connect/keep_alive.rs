//! Whether the other side is still there, asked for when we are awake anyway.
//!
//! A timer for the next question would wake the agent between two ticks, several times over with
//! the runtime's timer wheel, only to find that the collector has been heard meanwhile. So every
//! look puts the timer further away, and as long as something happens often enough it never fires.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep_until};

use super::status::Status;

/// A ping goes out when nothing was heard for so long; under the minute that address
/// translators commonly keep a quiet connection. The collector's own come after 20 s, and are read
/// a tick later: then ours need not go.
const INTERVAL: Duration = Duration::from_secs(30);

/// Time for its answer; then the connection counts as dead.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A question that is due waits so long for something else to wake us: longer than the usual
/// distance of ticks, by more than the 4 s by which the timer wheel looks ahead.
const WAIT_FOR_COMPANY: Duration = Duration::from_secs(15);

/// Pings of one connection.
pub(super) struct KeepAlive {
    pings: PingPong,
    heard_at: Instant,
    asked_at: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

// === impl KeepAlive ===

impl KeepAlive {
    pub(super) fn of(pings: PingPong) -> Self {
        let now = Instant::now();
        Self {
            pings,
            heard_at: now,
            asked_at: None,
            timer: Box::pin(sleep_until(now + INTERVAL)),
        }
    }

    /// When the timer would wake us.
    #[cfg(test)]
    pub(super) fn next_look(&self) -> Instant {
        self.timer.deadline()
    }

    /// Whether the timer has fired: somebody was not heard for long.
    pub(super) fn is_due(&self) -> bool {
        self.timer.is_elapsed()
    }

    /// Something came.
    pub(super) fn heard(&mut self) {
        self.heard_at = Instant::now();
    }

    /// Whether the timer leaves room for company, and not more than it should.
    fn is_far(&self, now: Instant) -> bool {
        let latest = now + 2 * WAIT_FOR_COMPANY;
        (now + WAIT_FOR_COMPANY..=latest).contains(&self.timer.deadline())
    }

    /// Asks if it is time to, and fails when nobody answers.
    pub(super) fn look(&mut self, context: &mut Context<'_>) -> Result<(), Status> {
        let dead = || Status::unavailable("the collector does not answer");
        loop {
            let now = Instant::now();
            if self.asked_at.is_some()
                && let Poll::Ready(answer) = self.pings.poll_pong(context)
            {
                answer.map_err(|error| Status::unavailable(error.to_string()))?;
                self.asked_at = None;
                self.heard_at = now;
            }
            if self.asked_at.is_none() && now >= self.heard_at + INTERVAL {
                let asked = self.pings.send_ping(Ping::opaque());
                asked.map_err(|error| Status::unavailable(error.to_string()))?;
                self.asked_at = Some(now);
                continue; // to be woken by the answer
            }
            let due = match self.asked_at {
                Some(asked_at) if now >= asked_at + TIMEOUT => return Err(dead()),
                Some(asked_at) => asked_at + TIMEOUT,
                // Far enough already: putting it off again would cost as much as a small message.
                None if self.is_far(now) => self.timer.deadline(),
                None => (self.heard_at + INTERVAL).max(now + 2 * WAIT_FOR_COMPANY),
            };
            if due != self.timer.deadline() || self.timer.is_elapsed() {
                // Not `reset`, which leaves the wheel to wake us at the old time, too.
                self.timer.set(sleep_until(due));
            }
            if self.timer.as_mut().poll(context).is_pending() {
                return Ok(());
            }
        }
    }
}
