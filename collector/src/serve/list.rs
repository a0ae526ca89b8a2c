//! Lists: sorted by any field, cut into pages, never truncated silently.
//!
//! A cursor names the last row handed out (its value of the sort field and its name), so the next
//! page starts behind it even when rows came or went in between.

use std::cmp::Ordering;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{problem::Problem, query::Query};
use crate::fact::ServerKey;

/// Rows of a page when nobody says otherwise.
pub(crate) const LIMIT_DEFAULT: usize = 200;
/// Rows of the largest page: about 10 MB of servers, written in some 50 ms.
pub(crate) const LIMIT_MAX: usize = 5000;
/// Bytes of a cursor: two names of the longest kind the hub allows, as JSON, in base64.
const CURSOR_BYTES_MAX: usize = 16 * 1024;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// The rows.
    pub(crate) items: Vec<T>,
    /// Ask with this as `cursor` for the next page; `null` on the last one.
    pub(crate) next: Option<String>,
}

/// How a caller wants a list.
#[derive(Debug)]
pub(crate) struct Order {
    /// The field to sort by.
    pub(crate) field: &'static str,
    descending: bool,
    limit: usize,
    after: Option<Cursor>,
}

/// A row's value of the sort field. The unknown comes last, whichever the direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Rank {
    Text(String),
    Number(#[serde(with = "bits")] f64),
    Unknown,
}

/// A number goes through a cursor as its bits: read back a hair off, a row would come twice.
mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    #[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
    pub(super) fn serialize<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(number.to_bits())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        u64::deserialize(from).map(f64::from_bits)
    }
}

/// Where a row stands: its rank, then its name, which is unique.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) rank: Rank,
    pub(crate) name: (String, String),
}

#[derive(Debug, Serialize, Deserialize)]
struct Cursor {
    sort: String,
    after: Place,
}

// === impl Order ===

impl Order {
    /// Takes `sort`, `limit` and `cursor`. Sorts by the first of `fields` (`-` before it:
    /// downwards) unless told.
    pub(crate) fn take(
        query: &mut Query,
        fields: &[&'static str],
        default: &'static str,
    ) -> Result<Self, Problem> {
        let sort = query.take("sort").unwrap_or_else(|| default.to_owned());
        let (name, descending) = match sort.strip_prefix('-') {
            Some(name) => (name, true),
            None => (sort.as_str(), false),
        };
        let field = fields.iter().find(|field| **field == name).ok_or_else(|| {
            let detail = format!(
                "sort is one of {}, with - before it for downwards; not {sort:?}",
                fields.join(", ")
            );
            Problem::bad_value("sort", detail)
        })?;
        let limit = query.take_integer("limit", 1, LIMIT_MAX as u64)?;
        let after = query
            .take("cursor")
            .map(|text| Cursor::read(&text, &sort))
            .transpose()?;
        Ok(Self {
            field,
            descending,
            limit: limit.map_or(LIMIT_DEFAULT, |limit| {
                usize::try_from(limit).unwrap_or(LIMIT_MAX)
            }),
            after,
        })
    }

    /// Sorts `rows`, drops those up to the cursor, and cuts off what is beyond the limit.
    pub(crate) fn page<T>(&self, mut rows: Vec<(Place, T)>) -> (Vec<T>, Option<String>) {
        if let Some(cursor) = &self.after {
            rows.retain(|(place, _)| self.compare(place, &cursor.after) == Ordering::Greater);
        }
        let more = rows.len() > self.limit;
        if more {
            // The page is put in order, not all that comes after it.
            rows.select_nth_unstable_by(self.limit, |(a, _), (b, _)| self.compare(a, b));
            rows.truncate(self.limit);
        }
        rows.sort_unstable_by(|(a, _), (b, _)| self.compare(a, b));
        let next = match rows.last() {
            Some((last, _)) if more => Some(self.cursor(last)),
            _ => None,
        };
        (rows.into_iter().map(|(_, row)| row).collect(), next)
    }

    /// Whether it is by user and server, upwards: as the state has them.
    pub(crate) fn is_by_name(&self) -> bool {
        self.field == "user" && !self.descending
    }

    /// The server that the cursor names.
    pub(crate) fn after(&self) -> Option<ServerKey> {
        let (user, server) = &self.after.as_ref()?.after.name;
        Some(ServerKey::new(user, server))
    }

    /// The same as [`Order::page`] of rows that come in this order and from behind the cursor on:
    /// takes no more of them than the page needs.
    pub(crate) fn page_of_sorted<T>(
        &self,
        rows: impl Iterator<Item = (Place, T)>,
    ) -> (Vec<T>, Option<String>) {
        let mut rows: Vec<(Place, T)> = rows.take(self.limit + 1).collect();
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let next = match rows.last() {
            Some((last, _)) if more => Some(self.cursor(last)),
            _ => None,
        };
        (rows.into_iter().map(|(_, row)| row).collect(), next)
    }

    fn compare(&self, a: &Place, b: &Place) -> Ordering {
        let ranks = match (&a.rank, &b.rank) {
            (Rank::Unknown, Rank::Unknown) => Ordering::Equal,
            (Rank::Unknown, _) => return Ordering::Greater,
            (_, Rank::Unknown) => return Ordering::Less,
            (Rank::Number(a), Rank::Number(b)) => a.total_cmp(b),
            (Rank::Text(a), Rank::Text(b)) => a.cmp(b),
            (Rank::Number(_), Rank::Text(_)) => Ordering::Less,
            (Rank::Text(_), Rank::Number(_)) => Ordering::Greater,
        };
        let ranks = if self.descending {
            ranks.reverse()
        } else {
            ranks
        };
        ranks.then_with(|| a.name.cmp(&b.name))
    }

    fn cursor(&self, last: &Place) -> String {
        let sign = if self.descending { "-" } else { "" };
        let cursor = Cursor {
            sort: format!("{sign}{}", self.field),
            after: last.clone(),
        };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&cursor).unwrap_or_default())
    }
}

// === impl Place ===

impl Place {
    /// Of a server in the order of their names.
    pub(crate) fn by_name(key: &ServerKey) -> Self {
        Self {
            rank: Rank::text(&key.user),
            name: (key.user.to_string(), key.server.to_string()),
        }
    }
}

// === impl Rank ===

impl Rank {
    /// Of a number that may be unknown.
    pub(crate) fn number(number: Option<f64>) -> Self {
        number
            .filter(|number| number.is_finite())
            .map_or(Self::Unknown, Self::Number)
    }

    /// Of a count, a size or a time that may be unknown. Beyond 2^53 neighbours tie.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn integer<N: TryInto<i64>>(number: Option<N>) -> Self {
        let number = number.map(|n| n.try_into().unwrap_or(i64::MAX));
        number.map_or(Self::Unknown, |n| Self::Number(n as f64))
    }

    /// Of a word.
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

// === impl Cursor ===

impl Cursor {
    fn read(text: &str, sort: &str) -> Result<Self, Problem> {
        let bad = |why: &str| Problem::bad_value("cursor", format!("cursor {why}"));
        if text.len() > CURSOR_BYTES_MAX {
            return Err(bad("is longer than any we handed out"));
        }
        let json = URL_SAFE_NO_PAD.decode(text).ok();
        let cursor: Option<Self> = json.and_then(|json| serde_json::from_slice(&json).ok());
        match cursor {
            None => Err(bad("is not one we handed out")),
            Some(cursor) if cursor.sort != sort => {
                Err(bad(&format!("belongs to a list sorted by {}", cursor.sort)))
            }
            Some(cursor) => Ok(cursor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(raw: &str) -> Result<Order, Problem> {
        let mut query = Query::parse(Some(raw)).expect("readable");
        Order::take(&mut query, &["user", "rss_bytes"], "user")
    }

    fn rows() -> Vec<(Place, usize)> {
        let rank = |i: usize| match i % 3 {
            0 => Rank::Unknown,
            _ => Rank::integer(Some((i % 5) as i64)),
        };
        (0..40)
            .map(|i| {
                let name = (format!("u{i:02}"), String::new());
                (
                    Place {
                        rank: rank(i),
                        name,
                    },
                    i,
                )
            })
            .collect()
    }

    #[test]
    fn pages_hold_every_row_once_whatever_the_direction() {
        for sort in ["rss_bytes", "-rss_bytes"] {
            let (whole, rest) = order(&format!("sort={sort}")).unwrap().page(rows());
            assert_eq!((whole.len(), rest), (40, None));
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            loop {
                let raw = format!("sort={sort}&limit=7&cursor={cursor}");
                let (items, next) = order(&raw).unwrap().page(rows());
                assert!(items.len() <= 7);
                seen.extend(items);
                match next {
                    Some(next) => cursor = next,
                    None => break,
                }
            }
            assert_eq!(seen, whole);
        }
    }

    #[test]
    fn the_unknown_comes_last_in_both_directions() {
        for sort in ["rss_bytes", "-rss_bytes"] {
            let (items, _) = order(&format!("sort={sort}")).unwrap().page(rows());
            assert!(items[26..].iter().all(|i| i % 3 == 0), "{sort}: {items:?}");
        }
    }

    #[test]
    fn a_page_that_holds_exactly_the_rest_has_no_next() {
        let (items, next) = order("limit=40").unwrap().page(rows());
        assert_eq!((items.len(), next), (40, None));
    }

    #[test]
    fn a_foreign_or_forged_cursor_is_refused() {
        let (_, next) = order("limit=7").unwrap().page(rows());
        let next = next.expect("more");
        assert!(order(&format!("cursor={next}")).is_ok());
        for raw in [
            format!("sort=rss_bytes&cursor={next}"),
            "cursor=AAAA".to_owned(),
            "cursor=%00".to_owned(),
            format!("cursor={}", "A".repeat(CURSOR_BYTES_MAX + 1)),
            "limit=0".to_owned(),
            "limit=5001".to_owned(),
            "sort=password".to_owned(),
            "sort=--user".to_owned(),
        ] {
            assert_eq!(order(&raw).expect_err(&raw).status(), 422, "{raw}");
        }
    }
}
