//! How long to wait for what.

use std::time::Duration;

use types::Moment;

use super::Download;
use crate::{
    download::{DownloadPolicy, requests::Request},
    estimate::Estimate,
};

impl Download {
    /// When a reader of ours has been blocked without any news for an adaptive time.
    pub(super) fn nervous_at(&self) -> Option<Moment> {
        let is_blocked = self.demand.blocked(&self.have).next().is_some();
        let wait = self.piece_time.high().unwrap_or(self.policy.head_wait_max) * 4;
        let wait = wait.clamp(self.policy.patience_min, self.policy.head_wait_max);
        (is_blocked && self.importing.lease.is_none())
            .then(|| self.news_at.max(self.blocked_since) + wait)
    }

    /// When this host may read from the origin without a lease: a random time after it became nervous, so that there is
    /// time for an answer and not all blocked hosts go at once.
    pub(super) fn unleased_at(&self) -> Option<Moment> {
        self.nervous_at()
            .map(|at| at + self.policy.patience_min + self.jitter)
    }

    /// How long to believe that nobody has room before asking somebody anyway.
    pub(super) fn probe_after(&self) -> Duration {
        self.piece_time
            .mean()
            .unwrap_or(self.policy.patience_min)
            .min(self.policy.patience_max)
    }

    /// What few pieces take longer than: beyond it a free slot may ask for the same piece elsewhere.
    pub(super) fn usual(&self) -> Duration {
        self.piece_time.high().unwrap_or(self.policy.patience_max)
    }

    pub(super) fn patience(&self, request: &Request) -> Duration {
        let own = self
            .neighbours
            .get(request.from)
            .map(|neighbour| *neighbour.health.piece_time());
        patience(own.unwrap_or_default(), self.piece_time, &self.policy)
    }
}

/// How long a request may be silent: twice what few pieces of this parent, or of all, take.
pub(super) fn patience(own: Estimate, all: Estimate, policy: &DownloadPolicy) -> Duration {
    let usual = own.high().or(all.high()).unwrap_or(policy.patience_max);
    (usual * 2).clamp(policy.patience_min, policy.patience_max)
}
