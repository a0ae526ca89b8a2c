//! What agents have receipts for, against what the collector's history holds: for agents with a
//! numbered load.

use std::{collections::BTreeMap, fmt, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

use super::{
    agent::Agent,
    collector::Collector,
    fleet::Fleet,
    hub,
    load::{NUMBERED_STRIDE, number},
};

/// History follows a receipt by a moment; one that does not follow in this time is not coming.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Wrong rows told in words.
const TOLD_MAX: usize = 5;

/// What was found, in reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Agents looked at.
    pub agents: usize,
    /// Taken by agents.
    pub taken: u64,
    /// With a receipt.
    pub receipted: u64,
    /// In history.
    pub stored: u64,
    /// With a receipt, and not in history.
    pub lost: u64,
    /// In history more than once.
    pub twice: u64,
    /// In another's history, or never sent.
    pub misfiled: u64,
    /// Between two that are stored, and not stored itself.
    pub holes: u64,
    /// Some of what is wrong, in words.
    pub told: Vec<String>,
}

// === impl Audit ===

impl Audit {
    /// Looks at every `step`-th agent's history.
    ///
    /// # Errors
    /// The collector does not answer.
    pub async fn of(collector: &Collector, fleet: &Fleet, step: usize) -> Result<Self> {
        let mut audit = Self::default();
        for agent in fleet.agents().iter().step_by(step.max(1)) {
            let rows = settled(collector, agent).await?;
            audit.look(agent.index, agent.taken(), agent.through_seq(), &rows);
        }
        Ok(audit)
    }

    /// Whether every promise was kept: nothing with a receipt is missing, nothing is there twice,
    /// in a wrong place, or left out.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost + self.twice + self.misfiled + self.holes == 0
    }

    fn look(&mut self, index: usize, taken: u64, through_seq: u64, rows: &[u64]) {
        self.agents += 1;
        self.taken += taken;
        self.receipted += through_seq;
        self.stored += rows.len() as u64;
        let mut times: BTreeMap<u64, u64> = BTreeMap::new();
        for row in rows {
            let seq = row.checked_sub(number(index, 0));
            match seq.filter(|seq| *seq < NUMBERED_STRIDE && (1..=taken).contains(seq)) {
                Some(seq) => *times.entry(seq).or_default() += 1,
                None => {
                    self.misfiled += 1;
                    self.tell(index, format_args!("a row {row} that it never sent"));
                }
            }
        }
        let newest = times.keys().next_back().copied().unwrap_or(0);
        for seq in 1..=newest.max(through_seq) {
            match times.get(&seq) {
                Some(1) => {}
                Some(n) => {
                    self.twice += 1;
                    self.tell(index, format_args!("report {seq} {n} times"));
                }
                None if seq <= through_seq => {
                    self.lost += 1;
                    self.tell(index, format_args!("no report {seq} of {through_seq}"));
                }
                None => {
                    self.holes += 1;
                    self.tell(index, format_args!("no report {seq}, but later ones"));
                }
            }
        }
    }

    fn tell(&mut self, index: usize, what: fmt::Arguments<'_>) {
        if self.told.len() < TOLD_MAX {
            self.told.push(format!("{}: {what}", hub::user(index)));
        }
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} agents took {} reports, {} have a receipt, {} are stored: \
             {} lost, {} twice, {} misfiled, {} holes",
            self.agents,
            self.taken,
            self.receipted,
            self.stored,
            self.lost,
            self.twice,
            self.misfiled,
            self.holes
        )?;
        for wrong in &self.told {
            write!(f, "\n  {wrong}")?;
        }
        Ok(())
    }
}

/// The rows of `agent`'s history, when all that have a receipt are there or are not coming.
async fn settled(collector: &Collector, agent: &Agent) -> Result<Vec<u64>> {
    let end = Instant::now() + PATIENCE;
    loop {
        let rows = rows(collector, agent.index).await?;
        if rows.len() as u64 >= agent.through_seq() || Instant::now() > end {
            return Ok(rows);
        }
        sleep(LOOK_INTERVAL).await;
    }
}

async fn rows(collector: &Collector, index: usize) -> Result<Vec<u64>> {
    let path = format!(
        "/api/v1/users/{}/server/history?from=-2h&fields=memory_used_bytes",
        hub::user(index)
    );
    let Some(history) = collector.get(&path).await? else {
        return Ok(Vec::new());
    };
    if !history["step_ms"].is_null() {
        bail!("{path} gives means, not samples: {}", history["step_ms"]);
    }
    let column = history["columns"]["memory_used_bytes"].as_array();
    let column = column.with_context(|| format!("{path} has no such column"))?;
    let number = |cell: &serde_json::Value| cell.as_u64();
    let rows = column.iter().map(number).collect::<Option<_>>();
    rows.with_context(|| format!("{path} has rows without a figure"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audit(taken: u64, through_seq: u64, rows: &[u64]) -> Audit {
        let mut audit = Audit::default();
        audit.look(3, taken, through_seq, rows);
        audit
    }

    fn of(seqs: &[u64]) -> Vec<u64> {
        seqs.iter().map(|seq| number(3, *seq)).collect()
    }

    #[test]
    fn what_is_right_is_clean_whether_or_not_the_last_have_a_receipt() {
        assert!(audit(4, 4, &of(&[1, 2, 3, 4])).is_clean());
        assert!(audit(4, 2, &of(&[1, 2, 3])).is_clean());
        assert!(audit(4, 0, &[]).is_clean());
    }

    #[test]
    fn every_kind_of_wrong_is_seen() {
        assert_eq!(audit(4, 4, &of(&[1, 2, 4])).lost, 1);
        assert_eq!(audit(4, 3, &of(&[1, 2])).lost, 1);
        assert_eq!(audit(4, 2, &of(&[1, 2, 4])).holes, 1);
        assert_eq!(audit(4, 4, &of(&[1, 2, 2, 3, 4])).twice, 1);
        assert_eq!(audit(4, 4, &of(&[1, 2, 3, 4, 5])).misfiled, 1, "never sent");
        let mut others = of(&[1, 2, 3, 4]);
        others.push(number(4, 1));
        assert_eq!(audit(4, 4, &others).misfiled, 1, "somebody else's");
    }
}
