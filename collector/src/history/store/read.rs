//! Reading files that somebody else may be writing.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use super::{Files, Place, Span, Tier, start_of};
use crate::{database, history::HistoryError};

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

    /// When the oldest file of `tier` begins and the newest ends.
    pub(in crate::history) fn kept(&self, tier: Tier) -> Result<Option<(i64, i64)>, HistoryError> {
        let dir = self.dir.join(tier.name());
        let names = match std::fs::read_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            names => names
                .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
                .map_err(HistoryError::file("list", &dir))?,
        };
        let starts = || {
            let names = names.iter().map(std::fs::DirEntry::file_name);
            names.filter_map(|name| start_of(name.to_str()?))
        };
        let ends = starts().map(|start_ms| start_ms.saturating_add(tier.file_ms()));
        Ok(starts().min().zip(ends.max()))
    }

    /// One statement a file: its chunks of one server lie side by side.
    pub(in crate::history) fn span(
        &mut self,
        span: Span,
    ) -> Result<Vec<(i64, Vec<u8>)>, HistoryError> {
        let (tier, server) = (span.tier, span.server);
        let mut chunks = Vec::new();
        let mut from_ms = span.from_ms;
        while from_ms < span.to_ms {
            let first = Place {
                tier,
                server,
                start_ms: from_ms,
            };
            let end_ms = first.file_start_ms().saturating_add(tier.file_ms());
            let to_ms = end_ms.min(span.to_ms);
            let (chunk_ms, begin) = (tier.chunk_ms(), first.row());
            let count = (to_ms - from_ms + chunk_ms - 1) / chunk_ms;
            if let Some(file) = self.file(first, false)? {
                file.connection
                    .prepare_cached(
                        "SELECT place, body FROM chunk WHERE place >= ?1 AND place < ?2
                         ORDER BY place",
                    )
                    .and_then(|mut select| {
                        let found = select.query_map([begin, begin + count], |row| {
                            let number: i64 = row.get(0)?;
                            Ok((from_ms + (number - begin) * chunk_ms, row.get(1)?))
                        })?;
                        for chunk in found {
                            chunks.push(chunk?);
                        }
                        Ok(())
                    })
                    .map_err(HistoryError::sql("read chunks"))?;
            }
            from_ms = end_ms;
        }
        Ok(chunks)
    }
}
