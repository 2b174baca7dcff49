//! How this daemon is: what the parts of it report, and what is counted.

use std::{collections::BTreeMap, io, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};
use gateway::admin::Vitals;
use parking_lot::Mutex;

use super::{Doors, stream_through::blocking};
use crate::metrics::Now;

/// How bad it is that a part does not do as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Consumers are served all the same: the scheduler is not reached, say.
    Degraded,
    /// Consumers can't be served yet: the store is not open, a listener not up. That no other host is known is neither.
    NotReady,
    /// Only a restart helps.
    Broken,
}

/// What is wrong now, told by the parts themselves. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<(Severity, &'static str), String>>>);

impl Health {
    /// Something is wrong with `part`: one line for people. Replaces what was said before of this severity.
    pub fn complain(&self, severity: Severity, part: &'static str, line: impl Into<String>) {
        self.0.lock().insert((severity, part), line.into());
    }

    /// All is well with `part`.
    pub fn all_well(&self, part: &'static str) {
        self.0.lock().retain(|(_, other), _| *other != part);
    }

    /// What is wrong, `part: line` each.
    pub fn complaints(&self, severity: Severity) -> Vec<String> {
        (self.0.lock().iter())
            .filter(|((one, _), _)| *one == severity)
            .map(|((_, part), line)| format!("{part}: {line}"))
            .collect()
    }
}

impl Vitals for Doors {
    fn metrics(&self) -> BoxFuture<'_, String> {
        async move {
            let store = self.resolver.store.clone();
            let usage = blocking(move || store.usage().map_err(io::Error::other)).await;
            let stats = self.resolver.origins.stats();
            self.metrics.text(&Now {
                origins: stats.into_iter().map(|(_, stats)| stats).collect(),
                usage: usage.ok(),
                tasks: self.handle.tasks().await.len() as u64,
            })
        }
        .boxed()
    }

    fn ailments(&self) -> BoxFuture<'_, Vec<String>> {
        async move { self.health.complaints(Severity::Broken) }.boxed()
    }

    fn missing(&self) -> BoxFuture<'_, Vec<String>> {
        async move {
            let mut lines = self.health.complaints(Severity::Broken);
            lines.extend(self.health.complaints(Severity::NotReady));
            lines
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_recovers_has_nothing_left_to_complain_of() {
        let health = Health::default();
        health.complain(Severity::NotReady, "store", "is being opened");
        health.complain(Severity::Degraded, "scheduler", "is not reached");
        assert_eq!(
            health.complaints(Severity::NotReady),
            ["store: is being opened"]
        );
        health.all_well("store");
        assert!(health.complaints(Severity::NotReady).is_empty());
        assert_eq!(health.complaints(Severity::Degraded).len(), 1);
    }
}
