//! The hub page: files built from `collector/ui` and embedded, or a placeholder where none were.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use cookie::{Cookie, SameSite};

use super::{
    Site,
    guard::{self, Viewer},
    oauth,
    problem::Problem,
};

/// A file of the page.
struct Asset {
    /// Below our prefix.
    path: &'static str,
    content_type: &'static str,
    /// A hash of its bytes, quoted.
    etag: &'static str,
    bytes: &'static [u8],
}

// `static ASSETS: &[Asset]`, written by build.rs.
include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// The page itself names its files by their content, so it is asked for anew each time and they
/// are kept.
const KEPT: &str = "public, max-age=31536000, immutable";

/// `GET /`: the page, and beside it the word by which it may change something.
pub(crate) async fn home(
    State(site): State<Arc<Site>>,
    viewer: Viewer,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut response = index(headers.clone()).await?;
    // A script of somebody's page that asks for ours is no person who opens it.
    if guard::is_navigation(&headers) {
        let word = Cookie::build((guard::WORD_COOKIE, site.words.of(&viewer.session)))
            .path(site.prefix.clone())
            .same_site(SameSite::Strict)
            .secure(oauth::came_by_https(&headers))
            .build()
            .to_string();
        if let Ok(word) = HeaderValue::try_from(word) {
            response.headers_mut().append(header::SET_COOKIE, word);
        }
    }
    Ok(response)
}

async fn index(headers: HeaderMap) -> Result<Response, Problem> {
    serve("index.html", "no-cache", &headers)
}

/// `GET assets/{file}`: holds nothing about anybody.
pub(crate) async fn asset(
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    serve(&format!("assets/{file}"), KEPT, &headers)
}

fn serve(path: &str, kept: &'static str, headers: &HeaderMap) -> Result<Response, Problem> {
    let asset = ASSETS.iter().find(|asset| asset.path == path);
    let asset = asset.ok_or_else(|| Problem::not_found("the page has no such file"))?;
    let about = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static(asset.content_type),
        ),
        (header::ETAG, HeaderValue::from_static(asset.etag)),
        (header::CACHE_CONTROL, HeaderValue::from_static(kept)),
    ];
    let known = headers.get_all(header::IF_NONE_MATCH).iter();
    let mut known = known.filter_map(|tags| tags.to_str().ok());
    if known.any(|tags| {
        tags.split(',')
            .any(|tag| tag.trim().trim_start_matches("W/") == asset.etag)
    }) {
        return Ok((StatusCode::NOT_MODIFIED, about).into_response());
    }
    Ok((about, asset.bytes).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_a_page_and_its_scripts_are_files() {
        let index = ASSETS.iter().find(|asset| asset.path == "index.html");
        let html = std::str::from_utf8(index.expect("an index").bytes).expect("text");
        for inline in ["<script>", "<style>", "style=", "onclick=", "javascript:"] {
            assert!(!html.contains(inline), "the policy forbids {inline}");
        }
    }

    #[tokio::test]
    async fn a_browser_that_knows_the_page_is_sent_nothing() {
        let first = index(HeaderMap::new()).await.expect("a page");
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        assert_eq!(index(headers).await.expect("an answer").status(), 304);
    }
}
