//! In which form an answer goes out.

use axum::http::{HeaderMap, header};

use crate::serve::problem::Problem;

/// What history can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Csv,
    Parquet,
}

/// What somebody takes: a media range and how gladly, in thousandths.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    gladly: u32,
}

// === impl Form ===

impl Form {
    /// Before others where somebody does not mind.
    pub(super) const ALL: [Self; 3] = [Self::Json, Self::Csv, Self::Parquet];

    /// The value of `format`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// By one of the names that [`Self::as_str`] gives.
    pub(super) fn named(name: &str) -> Self {
        let known = Self::ALL.into_iter().find(|form| form.as_str() == name);
        known.unwrap_or(Self::Json)
    }

    /// By Accept: the one that is taken most gladly. Whoever takes none gets no file under another
    /// one's name.
    pub(super) fn by_accept(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut accept = String::new();
        for value in headers.get_all(header::ACCEPT) {
            accept.push_str(value.to_str().unwrap_or_default());
            accept.push(',');
        }
        if accept.trim_matches([',', ' ']).is_empty() {
            return Ok(Self::Json);
        }
        let ranges: Vec<Range<'_>> = accept.split(',').filter_map(Range::read).collect();
        let mut best = None;
        for form in Self::ALL {
            let gladly = form.gladly(&ranges);
            if gladly > best.map_or(0, |(_, most)| most) {
                best = Some((form, gladly));
            }
        }
        best.map(|(form, _)| form).ok_or_else(|| {
            let known = Self::ALL.map(Self::media_type).join(", ");
            Problem::not_acceptable(format!("history comes as one of {known}"))
        })
    }

    /// What the most exact range that fits says.
    fn gladly(self, ranges: &[Range<'_>]) -> u32 {
        let fits = ranges.iter().filter_map(|range| {
            let exactness = range.fits(self.media_type())?;
            Some((exactness, range.gladly))
        });
        fits.max().map_or(0, |(_, gladly)| gladly)
    }
}

// === impl Range ===

impl<'a> Range<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        let quality = quality.map_or(Some(1.0), |text| text.parse::<f64>().ok());
        let quality = quality.filter(|quality| (0.0..=1.0).contains(quality))?;
        Some(Self {
            kind,
            subtype,
            gladly: (quality * 1000.0) as u32,
        })
    }

    /// How exactly it names `media_type`; `None` if not at all.
    fn fits(&self, media_type: &str) -> Option<u32> {
        let (kind, subtype) = media_type.split_once('/')?;
        let json = subtype == "json" && self.subtype.ends_with("+json");
        match (self.kind, self.subtype) {
            ("*", "*") => Some(0),
            (of, "*") if of.eq_ignore_ascii_case(kind) => Some(1),
            (of, sub) if of.eq_ignore_ascii_case(kind) && sub.eq_ignore_ascii_case(subtype) => {
                Some(3)
            }
            (of, _) if of.eq_ignore_ascii_case(kind) && json => Some(2),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(accept: &[&str]) -> Option<Form> {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT, value.parse().unwrap());
        }
        Form::by_accept(&headers).ok()
    }

    #[test]
    fn the_form_that_is_taken_most_gladly_is_sent_and_json_where_it_is_all_one() {
        let parquet = "application/vnd.apache.parquet";
        for (accept, form) in [
            (vec![], Some(Form::Json)),
            (vec![""], Some(Form::Json)),
            (vec!["*/*"], Some(Form::Json)),
            (vec!["text/html, */*;q=0.8"], Some(Form::Json)),
            (vec!["application/*"], Some(Form::Json)),
            (vec!["application/problem+json"], Some(Form::Json)),
            (vec!["text/csv"], Some(Form::Csv)),
            (vec!["text/*"], Some(Form::Csv)),
            (vec!["TEXT/CSV; charset=utf-8"], Some(Form::Csv)),
            (vec!["text/csv, application/json"], Some(Form::Json)),
            (vec!["text/csv, application/json;q=0.9"], Some(Form::Csv)),
            (vec![parquet], Some(Form::Parquet)),
            (vec![parquet, "text/csv;q=0.5"], Some(Form::Parquet)),
            (
                vec!["application/vnd.apache.parquet, */*;q=0.1"],
                Some(Form::Parquet),
            ),
            (vec!["application/json;q=0, */*;q=0.5"], Some(Form::Csv)),
            (vec!["application/json;q=0"], None),
            (vec!["text/html"], None),
            (vec!["application/xml, image/png"], None),
            (vec!["application/json;q=nan"], None),
        ] {
            assert_eq!(by(&accept), form, "{accept:?}");
        }
    }
}
