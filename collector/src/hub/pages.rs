//! The hub's list of users, page by page.

use jiff::Timestamp;
use reqwest::{Method, RequestBuilder, header};
use serde::{Deserialize, de::DeserializeOwned};

use super::{HubError, client::HubClient};
use crate::{limits, text::Label};

/// Asks for pages that say what comes next; without it the hub cuts the list silently.
const PAGED: &str = "application/jupyterhub-pagination+json";
const WHAT: &str = "GET /users";

/// The scope that shows every user, spelt without a filter.
pub(super) const SEES_ALL: &str = "list:users";

/// One page.
#[derive(Deserialize)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    #[serde(rename = "_pagination")]
    pagination: Pagination,
}

#[derive(Deserialize)]
struct Pagination {
    total: Option<u64>,
    next: Option<Next>,
}

#[derive(Deserialize)]
struct Next {
    offset: u64,
}

// === impl HubClient ===

impl HubClient {
    /// The users from `offset` on: all of them, in the hub's order, or as `which` says
    /// (`state=active`, `sort=id`).
    pub(super) async fn users_page<T: DeserializeOwned>(
        &self,
        which: Option<&str>,
        offset: u64,
    ) -> Result<Page<T>, HubError> {
        self.users_page_of(limits::HUB_PAGE_USERS, which, offset)
            .await
    }

    /// The same, at most `users` of them.
    pub(super) async fn users_page_of<T: DeserializeOwned>(
        &self,
        users: usize,
        which: Option<&str>,
        offset: u64,
    ) -> Result<Page<T>, HubError> {
        let which = which.map(|which| format!("{which}&"));
        let path = format!(
            "/users?{}limit={users}&offset={offset}",
            which.unwrap_or_default(),
        );
        let request = self
            .with_our_token(self.request(Method::GET, &path))?
            .header(header::ACCEPT, PAGED);
        self.ask(WHAT, request, limits::HUB_PAGE_BYTES_MAX, &[])
            .await?
            .ok_or_else(|| malformed("it is empty"))
    }

    /// `request` in the name of our own service.
    pub(super) fn with_our_token(
        &self,
        request: RequestBuilder,
    ) -> Result<RequestBuilder, HubError> {
        let mut token =
            header::HeaderValue::from_str(&format!("token {}", self.hub.api_token.expose()))
                .map_err(|_| malformed("our own token has characters that no header takes"))?;
        token.set_sensitive(true);
        Ok(request.header(header::AUTHORIZATION, token))
    }

    /// Whether our own token shows every user.
    pub(super) async fn sees_all(&self) -> Result<bool, HubError> {
        let ours = self.whoami(self.hub.api_token.expose()).await?;
        Ok(ours.is_some_and(|ours| ours.has_scope(SEES_ALL)))
    }
}

// === impl Page ===

impl<T> Page<T> {
    /// Where the page after the one at `offset` begins, if there is one.
    pub(super) fn next(&self, offset: u64) -> Result<Option<u64>, HubError> {
        match &self.pagination.next {
            None => Ok(None),
            Some(next) if next.offset > offset => Ok(Some(next.offset)),
            Some(_) => Err(malformed("its pages do not move on")),
        }
    }

    /// How many users there are on all pages.
    pub(super) fn total(&self) -> Result<u64, HubError> {
        let total = self.pagination.total;
        total.ok_or_else(|| malformed("it does not say how many users there are"))
    }
}

pub(super) fn too_many_pages() -> HubError {
    malformed("it has more pages than any hub has users")
}

/// A user's groups, bounded and sorted.
pub(super) fn groups(names: &[String]) -> Vec<Label> {
    let mut groups: Vec<Label> = names
        .iter()
        .take(limits::GROUPS_PER_USER_MAX)
        .map(|group| Label::clean(group, limits::HUB_NAME_BYTES_MAX))
        .collect();
    groups.sort();
    groups
}

/// The hub's times are RFC 3339; it drops the fraction when it is zero.
pub(super) fn time(text: Option<&str>) -> Result<Option<Timestamp>, HubError> {
    text.map(|text| {
        text.parse()
            .map_err(|_| malformed("a time in it is not RFC 3339"))
    })
    .transpose()
}

/// The same in milliseconds.
pub(super) fn time_ms(text: Option<&str>) -> Result<Option<i64>, HubError> {
    Ok(time(text)?.map(Timestamp::as_millisecond))
}

pub(super) fn malformed(why: &str) -> HubError {
    HubError::Malformed {
        what: WHAT,
        why: why.to_owned(),
    }
}
