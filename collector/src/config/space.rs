//! How much space history may take, as it is written: `20G`, `500M`, `5%`.

use super::draft::{Draft, Raw, Setting};
use crate::history::{Bounds, FreeMin};

const EXPECTED: &str = "expected a size such as \"500M\" or \"20G\"";

/// Bytes; K, M, G and T are powers of 1024.
struct Bytes(u64);

/// The bounds of history.
pub(super) fn bounds(draft: &mut Draft) -> Bounds {
    let default = Bounds::default();
    Bounds {
        bytes_max: draft.take("history.bytes_max").map(|Bytes(bytes)| bytes),
        free_min: draft.take("history.free_min").unwrap_or(default.free_min),
    }
}

// === impl Setting ===

impl Setting for Bytes {
    fn read(raw: &Raw) -> Result<Self, String> {
        let text = match raw {
            Raw::Integer(text) | Raw::Text(text) => text.trim(),
            other => return Err(format!("{EXPECTED}, found {other}")),
        };
        let number = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = match text[number.len()..].trim() {
            "" | "B" => 1,
            "K" | "KiB" => 1 << 10,
            "M" | "MiB" => 1 << 20,
            "G" | "GiB" => 1 << 30,
            "T" | "TiB" => 1 << 40,
            _ => return Err(format!("{EXPECTED}, found {text:?}")),
        };
        let number: u64 = number
            .replace('_', "")
            .parse()
            .map_err(|_| format!("{EXPECTED}, found {text:?}"))?;
        let bytes = number.checked_mul(unit);
        bytes
            .map(Self)
            .ok_or_else(|| format!("{EXPECTED}, found {text:?}"))
    }
}

impl Setting for FreeMin {
    fn read(raw: &Raw) -> Result<Self, String> {
        let mut free_min = Self {
            bytes: None,
            percent: None,
        };
        let Raw::Text(text) = raw else {
            let Bytes(bytes) = Bytes::read(raw)?;
            free_min.bytes = Some(bytes);
            return Ok(free_min);
        };
        for part in text.split(',').map(str::trim) {
            match part.strip_suffix('%') {
                Some(percent) => free_min.percent = Some(share(percent)?),
                None => {
                    let Bytes(bytes) = Bytes::read(&Raw::Text(part.to_owned()))
                        .map_err(|why| format!("{why}; or a share such as \"5%\""))?;
                    free_min.bytes = Some(bytes);
                }
            }
        }
        Ok(free_min)
    }
}

fn share(text: &str) -> Result<f64, String> {
    let percent = text.trim().parse().ok();
    let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or_else(|| format!("expected 0% to 100%, found \"{text}%\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Setting>(text: &str) -> Result<T, String> {
        T::read(&Raw::Text(text.to_owned()))
    }

    #[test]
    fn sizes_are_read_with_or_without_a_unit() {
        for (text, bytes) in [
            ("0", 0),
            ("1_000", 1_000),
            ("512K", 512 << 10),
            ("500 MiB", 500 << 20),
            ("20G", 20 << 30),
            ("2T", 2 << 40),
        ] {
            assert_eq!(read::<Bytes>(text).unwrap().0, bytes, "{text}");
        }
        for text in ["", "G", "-1G", "20 GB or so", "99999999999T", "5%"] {
            assert!(read::<Bytes>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_left_free_is_a_size_a_share_or_both() {
        let of = |bytes, percent| Ok(FreeMin { bytes, percent });
        assert_eq!(read::<FreeMin>("1G"), of(Some(1 << 30), None));
        assert_eq!(read::<FreeMin>("2.5%"), of(None, Some(2.5)));
        let both = read::<FreeMin>("1G, 5%");
        assert_eq!(both, of(Some(1 << 30), Some(5.0)));
        assert_eq!(both, Ok(Bounds::default().free_min));
        for text in ["101%", "-1%", "%", "NaN%", "some", "1G,"] {
            assert!(read::<FreeMin>(text).is_err(), "{text}");
        }
    }
}
