//! What is true of users who are forgotten, deleted or renamed.

use std::collections::BTreeMap;

use super::{Changed, State, recall::Recalled};
use crate::{
    fact::ServerKey,
    person::{Fates, Moved},
    verdict::Verdict,
};

// === impl State ===

impl State {
    /// Meets `fates`: everything under a name goes, or has the new name.
    pub(super) fn move_people(&mut self, fates: &Fates) -> Changed {
        let mut changed = Changed {
            people: true,
            ..Changed::default()
        };
        let touched = |key: &ServerKey| fates.moved(key) != Moved::Stays;
        let servers: Vec<_> = self.servers.extract_if(.., |key, _| touched(key)).collect();
        for (key, mut server) in servers {
            if let Moved::To(to) = fates.moved(&key) {
                server.key = to.clone();
                for verdict in &mut server.verdicts {
                    move_verdict(verdict, fates);
                }
                changed.servers.push(to.clone());
                self.servers.insert(to, server);
            }
            changed.servers.push(key);
        }
        self.cleared
            .retain_mut(|verdict| move_verdict(verdict, fates));
        if let Some(recalled) = &mut self.recalled {
            recalled.move_people(fates);
        }
        self.promises.move_people(fates);
        changed
    }

    /// Cleared verdicts of before `before_ms` name no notebooks any more.
    pub(super) fn drop_titles(&mut self, before_ms: i64) {
        let old = |verdict: &&mut Verdict| verdict.cleared_ms < Some(before_ms);
        for verdict in self.cleared.iter_mut().take_while(old) {
            verdict.drop_title();
        }
    }
}

// === impl Recalled ===

impl Recalled {
    fn move_people(&mut self, fates: &Fates) {
        move_keys(&mut self.idle, fates, |_| {});
        move_keys(&mut self.open, fates, |verdicts| {
            verdicts.retain_mut(|verdict| move_verdict(verdict, fates));
        });
    }
}

/// Lets what is kept by server follow its user.
pub(super) fn move_keys<T>(
    map: &mut BTreeMap<ServerKey, T>,
    fates: &Fates,
    mut move_value: impl FnMut(&mut T),
) {
    let touched: Vec<_> = map
        .extract_if(.., |key, _| fates.moved(key) != Moved::Stays)
        .collect();
    for (key, mut value) in touched {
        if let Moved::To(to) = fates.moved(&key) {
            move_value(&mut value);
            map.insert(to, value);
        }
    }
}

/// Whether it stays, under whatever name.
fn move_verdict(verdict: &mut Verdict, fates: &Fates) -> bool {
    match fates.moved(&verdict.key) {
        Moved::Stays => true,
        Moved::Gone => false,
        Moved::To(to) => {
            if fates.takes_titles(&verdict.key.user) {
                verdict.drop_title();
            }
            verdict.key = to;
            true
        }
    }
}

#[cfg(test)]
mod tests;
