//! Who stands behind a name, where somebody knows.

use std::{pin::Pin, sync::Arc};

use super::{Denied, Identify};
use crate::fact::ServerKey;

/// Knows who is who.
pub trait WhoIsWho: Send + Sync + 'static {
    /// Makes sure that what `user` reports from now on is filed under who that is.
    ///
    /// # Errors
    /// It is not known now.
    fn arrive<'a>(
        &'a self,
        user: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<(), Denied>> + Send + 'a>>;
}

// === impl Identify ===

impl Identify {
    /// Asks `people` about owners of tokens that were not known before.
    pub fn ask_who_is_who(&self, people: Arc<dyn WhoIsWho>) {
        let _ = self.0.people.set(people); // the first one stays
    }

    pub(super) async fn arrived(&self, key: &ServerKey) -> Result<(), Denied> {
        match self.0.people.get() {
            Some(people) => people.arrive(&key.user).await,
            None => Ok(()),
        }
    }
}
