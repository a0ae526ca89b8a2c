//! Everybody the hub knows, whether their server runs or not: the whole list, or an error.
//!
//! A part of the list would make the rest look deleted. The hub's pages are cut from a list that
//! changes meanwhile; its total tells. Who may see only some users (a filtered scope, such as
//! `list:users!group=class`) gets [`Everybody::whole`] `false`: nobody is gone because we do not
//! see them.

use std::{collections::HashSet, sync::Arc};

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Deserializer};

use super::{
    HubError,
    client::HubClient,
    pages::{groups, malformed, time, time_ms, too_many_pages},
};
use crate::{limits, text::Label};

/// What a name may hold in a path as it is; the hub's own links leave as much alone.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'@');

/// One user of the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubUser {
    /// The hub's name, raw. A hostile string like any other.
    pub name: Arc<str>,
    /// When the hub made this user, in microseconds since the Unix epoch: with the name it says
    /// who it is. `None` when our token may not read it (scope `read:users`).
    pub created_us: Option<i64>,
    /// The hub's idea of the last activity; `None` for never, or when our token may not read it.
    pub last_activity_ms: Option<i64>,
    /// The user's groups, sorted.
    pub groups: Vec<Label>,
}

/// The hub's users, as of about one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Everybody {
    /// In the hub's order: oldest first.
    pub users: Vec<HubUser>,
    /// Whether who is not listed does not exist.
    pub whole: bool,
    /// Whether of each it is told when they were last active, or that they never were.
    pub tells_activity: bool,
}

#[derive(Deserialize)]
struct User {
    name: String,
    created: Option<String>,
    /// Absent when our token may not read it, null when they never were.
    #[serde(default, deserialize_with = "present")]
    last_activity: Option<Option<String>>,
    #[serde(default)]
    groups: Vec<String>,
}

fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

// === impl HubClient ===

impl HubClient {
    /// Every user of the hub, page by page, in some hundred requests of 200 users each where a hub
    /// has tens of thousands: to be asked for about once an hour.
    ///
    /// # Errors
    /// The hub did not answer, not completely, or its users changed meanwhile: try again later.
    pub async fn everybody(&self) -> Result<Everybody, HubError> {
        let whole = self.sees_all().await?;
        let (mut users, mut tells_activity) = (Vec::new(), true);
        let mut total = None;
        let mut offset = 0;
        for _ in 0..limits::HUB_PAGES_MAX {
            // By id: who is new comes last, and moves nobody to another page.
            let page = self.users_page::<User>(Some("sort=id"), offset).await?;
            let next = page.next(offset)?;
            // Somebody who is deleted between two pages moves all who come after up by one.
            let of_page = page.total()?;
            if *total.get_or_insert(of_page) != of_page {
                return Err(malformed("its users changed while it was read"));
            }
            for user in page.items {
                if users.len() >= limits::HUB_USERS_MAX {
                    return Err(malformed("it has more users than the collector reads"));
                }
                tells_activity &= user.last_activity.is_some();
                users.push(HubUser::read(user)?);
            }
            match next {
                None => {
                    complete(&users, of_page)?;
                    return Ok(Everybody {
                        users,
                        whole,
                        tells_activity,
                    });
                }
                Some(next) => offset = next,
            }
        }
        Err(too_many_pages())
    }

    /// One user; `None` when the hub knows none of this name, or does not show it to us.
    ///
    /// # Errors
    /// The hub did not say yes or no.
    pub async fn user(&self, name: &str) -> Result<Option<HubUser>, HubError> {
        let path = format!("/users/{}", utf8_percent_encode(name, IN_PATH));
        let request = self.with_our_token(self.request(Method::GET, &path))?;
        let no = [StatusCode::NOT_FOUND, StatusCode::FORBIDDEN];
        let answer: Option<User> = self
            .ask(
                "GET /users/:name",
                request,
                limits::HUB_IDENTITY_BYTES_MAX,
                &no,
            )
            .await?;
        answer.map(HubUser::read).transpose()
    }
}

/// Whether it is the list: as many users as the hub counts, each once.
fn complete(users: &[HubUser], total: u64) -> Result<(), HubError> {
    let names: HashSet<&str> = users.iter().map(|user| &*user.name).collect();
    if names.len() != users.len() || users.len() as u64 != total {
        return Err(malformed("its pages do not add up"));
    }
    Ok(())
}

// === impl Everybody ===

impl Everybody {
    /// The hub's `last_activity` of every user. All of them or an error: nobody is counted as away
    /// because we may not see them.
    ///
    /// # Errors
    /// Our token does not see all users, or not when they were active.
    pub fn last_activities(&self) -> Result<impl Iterator<Item = Option<i64>>, HubError> {
        if !self.whole {
            return Err(malformed(
                "it does not show all users: the service's role needs the scope list:users, \
                 without a filter",
            ));
        }
        if !self.tells_activity {
            return Err(malformed(
                "it says nothing of activity: the service's role needs the scope \
                 read:users:activity",
            ));
        }
        Ok(self.users.iter().map(|user| user.last_activity_ms))
    }
}

// === impl HubUser ===

impl HubUser {
    fn read(user: User) -> Result<Self, HubError> {
        if user.name.is_empty() || user.name.len() > limits::HUB_NAME_BYTES_MAX {
            return Err(malformed("a user in it has no usable name"));
        }
        Ok(Self {
            name: user.name.into(),
            created_us: time(user.created.as_deref())?.map(Timestamp::as_microsecond),
            last_activity_ms: time_ms(user.last_activity.flatten().as_deref())?,
            groups: groups(&user.groups),
        })
    }
}

#[cfg(test)]
mod tests;
