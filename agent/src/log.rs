//! The agent's log: one line an event on standard error, by level alone.
//!
//! Written here because the usual subscriber brings regular expressions, JSON and a span registry:
//! a tenth of the program for lines that an agent in good order never writes. Spans are not kept.

use std::{
    fmt::{self, Write as _},
    io::Write as _,
};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
    subscriber::Interest,
};

use crate::{
    clock::{Clock, SystemClock},
    sample::rfc3339,
};

/// The variable that says how much is told.
pub const VARIABLE: &str = "HUBMETER_LOG";

/// What is told when it does not say: an agent that works says nothing.
const LEVEL_DEFAULT: LevelFilter = LevelFilter::WARN;

/// Whose events are told; what libraries say is for those who ask for everything (`trace`).
const OUR_TARGETS: &str = "hubmeter";

/// Bytes of one line; more is cut, since the log is often the server's own.
const LINE_BYTES_MAX: usize = 4 * 1024;

/// Tells events up to a level.
#[derive(Clone, Copy, Debug)]
struct Log {
    level: LevelFilter,
}

/// A line that is being written.
#[derive(Debug)]
struct Line(String);

/// Writes into a line what is safe to show on one.
struct Plain<'a>(&'a mut String);

/// Starts the log. Once: later calls change nothing.
pub fn start() {
    let asked = std::env::var(VARIABLE).ok();
    let level = asked.as_deref().map_or(Some(LEVEL_DEFAULT), level_of);
    let log = Log {
        level: level.unwrap_or(LEVEL_DEFAULT),
    };
    if tracing::subscriber::set_global_default(log).is_ok() && level.is_none() {
        tracing::warn!("{VARIABLE}: use off, error, warn, info or debug; going on with warn");
    }
}

/// `None` for what is no level; empty counts as unset.
fn level_of(text: &str) -> Option<LevelFilter> {
    match text.trim() {
        "" => Some(LEVEL_DEFAULT),
        text => text.parse().ok(),
    }
}

// === impl Log ===

impl Log {
    fn tells(self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && *metadata.level() <= self.level
            && (self.level == LevelFilter::TRACE || metadata.target().starts_with(OUR_TARGETS))
    }
}

impl Subscriber for Log {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.tells(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.tells(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        // Never asked for: no span is of interest.
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let line = Line::of(event, SystemClock.wall_ms());
        // A closed stderr must not end us, and with us the server.
        let _ = std::io::stderr().write_all(line.0.as_bytes());
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

// === impl Line ===

impl Line {
    /// `2019-11-16T21:56:16.120Z  WARN hubmeter_agent::link: message field=value`, and an end.
    fn of(event: &Event<'_>, wall_ms: u64) -> Self {
        let metadata = event.metadata();
        let mut line = Self(rfc3339(wall_ms));
        let _ = write!(line.0, " {:>5} {}:", metadata.level(), metadata.target());
        event.record(&mut line);
        line.0.truncate(line.0.floor_char_boundary(LINE_BYTES_MAX));
        line.0.push('\n');
        line
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut plain = Plain(&mut self.0);
        let _ = match field.name() {
            "message" => write!(plain, " {value:?}"),
            name => write!(plain, " {name}={value:?}"),
        };
    }
}

// === impl Plain ===

impl fmt::Write for Plain<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if c.is_control() {
                self.0.extend(c.escape_default());
            } else {
                self.0.push(c);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Keeps what would have been written.
    struct Kept {
        log: Log,
        lines: Arc<Mutex<Vec<String>>>,
    }

    impl Subscriber for Kept {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            self.log.enabled(metadata)
        }

        fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
            self.log.new_span(span)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, event: &Event<'_>) {
            let line = Line::of(event, 1_573_941_376_120).0;
            self.lines.lock().unwrap().push(line);
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

    fn lines_at(level: &str, say: impl Fn()) -> Vec<String> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Kept {
            log: Log {
                level: level_of(level).unwrap(),
            },
            lines: Arc::clone(&lines),
        };
        tracing::subscriber::with_default(kept, say);
        let lines = lines.lock().unwrap();
        lines.clone()
    }

    #[test]
    fn a_line_has_time_level_place_message_and_fields_and_stays_one_line() {
        let lines = lines_at("info", || {
            let error = "no such\nfile";
            tracing::warn!(%error, count = 3, name = "a\u{1b}[31m", "cannot read");
        });
        assert_eq!(
            lines,
            [
                "2019-11-16T21:56:16.120Z  WARN hubmeter_agent::log::tests: cannot read \
                 error=no such\\nfile count=3 name=\"a\\u{1b}[31m\"\n"
            ]
        );
    }

    #[test]
    fn a_level_tells_itself_and_worse_of_us_and_of_libraries_nothing() {
        let say = || {
            tracing::debug!("detail");
            tracing::info!("news");
            tracing::error!("trouble");
            tracing::error!(target: "h2::proto", "frame");
        };
        let told = |level| lines_at(level, say).len();
        assert_eq!(
            ["off", "error", "", "info", "debug"].map(told),
            [0, 1, 1, 2, 3]
        );
        assert_eq!(told("trace"), 4);
        assert_eq!(level_of("hubmeter=debug"), None);
    }

    #[test]
    fn a_line_is_cut_at_a_character() {
        let lines = lines_at("warn", || tracing::warn!("{}", "é".repeat(LINE_BYTES_MAX)));
        assert!(lines[0].len() <= LINE_BYTES_MAX + 1 && lines[0].ends_with("é\n"));
    }
}
