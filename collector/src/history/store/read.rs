//! Reading files that somebody else may be writing.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use super::{
    files::{Files, VERSION},
    tail::Tail,
};
use crate::{
    database,
    history::{HistoryError, tier::Tier},
};

// === impl Files ===

impl Files {
    /// Opens what is in `history/` of `data_dir` for reading, whoever writes there; `None` if
    /// nobody ever wrote.
    pub(in crate::history) fn open_read_only(
        data_dir: &Path,
    ) -> Result<Option<Self>, HistoryError> {
        let dir = data_dir.join("history");
        let servers = database::open_read_only(&dir.join("servers.db"))?;
        Ok(servers.map(|servers| Self {
            tail: Tail::read_only(&dir.join("tail.db"), VERSION),
            dir,
            servers,
            ids: HashMap::new(),
            open: BTreeMap::new(),
            read_only: true,
        }))
    }

    /// Names of a user's servers.
    pub(in crate::history) fn servers_of(&self, user: &str) -> Result<Vec<String>, HistoryError> {
        self.servers
            .prepare_cached("SELECT server FROM server WHERE user = ?1 ORDER BY server")
            .and_then(|mut select| {
                let names = select.query_map([user], |row| row.get(0))?;
                names.collect()
            })
            .map_err(HistoryError::sql("look up a user's servers"))
    }

    /// When the oldest of `tier` begins and the newest ends: of its files, and of what is open.
    pub(in crate::history) fn kept(
        &mut self,
        tier: Tier,
    ) -> Result<Option<(i64, i64)>, HistoryError> {
        let files = if self.dir.join(tier.name()).is_dir() {
            self.list(tier)?
        } else {
            Vec::new()
        };
        let files = files
            .into_iter()
            .map(|(start_ms, _)| (start_ms, start_ms.saturating_add(tier.file_ms())));
        let open = self.tail.open_chunks(tier)?.into_iter();
        let open = open.map(|start_ms| (start_ms, start_ms.saturating_add(tier.chunk_ms())));
        Ok(files
            .chain(open)
            .reduce(|all, one| (all.0.min(one.0), all.1.max(one.1))))
    }
}
