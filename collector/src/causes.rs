//! An error with everything that caused it, on one line.

use std::error::Error;

/// `error` and its causes, a colon between; a cause that the line has already is not said twice.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !line.contains(&more) {
            line = format!("{line}: {more}");
        }
        next = cause.source();
    }
    line
}
