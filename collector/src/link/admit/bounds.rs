//! The bounds that what an agent says is held to, each refusal naming the field.

use hubmeter_proto::limits as wire;

use super::{Admitted, Refusal};
use crate::{limits, text::Label};

pub(super) fn out(field: &str, why: &'static str) -> Refusal {
    Refusal::OutOfBounds {
        field: field.to_owned(),
        why,
    }
}

pub(super) fn seq(field: &str, seq: u64) -> Admitted<()> {
    if seq == 0 {
        return Err(out(field, "starts at 1"));
    }
    number(field, seq)
}

pub(super) fn number(field: &str, n: u64) -> Admitted<()> {
    if n > limits::NUMBER_MAX {
        return Err(out(field, "over 2^53"));
    }
    Ok(())
}

pub(super) fn maybe(field: &str, n: Option<u64>) -> Admitted<()> {
    n.map_or(Ok(()), |n| number(field, n))
}

pub(super) fn processes(field: &str, n: u32) -> Admitted<()> {
    if n > limits::PROCESSES_MAX {
        return Err(out(field, "over 2^22, the kernel's own bound"));
    }
    Ok(())
}

pub(super) fn text(field: &str, text: &str, bytes_max: usize) -> Admitted<()> {
    if text.len() > bytes_max {
        return Err(out(field, "too long"));
    }
    Ok(())
}

pub(super) fn label(text: &str) -> Label {
    Label::clean(text, wire::LABEL_BYTES_MAX)
}

/// A decoder's words about hostile bytes, fit for a log.
pub(super) fn cut(text: &str) -> String {
    Label::clean(text, limits::LOGGED_BYTES_MAX)
        .as_str()
        .to_owned()
}
