//! What a host tells when its stream opens: after a reconnect, or to a brain that knows nothing.

use types::{Epoch, HostId, Moment, TaskId, Visibility};

use super::{
    brain::Schedule,
    event::{Action, Ask, CanImport, Have, Inventory, LeaseClaim},
    lease::Held,
    task::Spot,
};

impl Ask {
    /// What a complete holding looks like as an ask.
    pub(super) const fn holding(task: TaskId) -> Self {
        Self {
            task,
            by_digest: false,
            can_import: CanImport::No,
            have: Have::All,
            visibility: Visibility::Private,
            layout: None,
        }
    }
}

impl Schedule {
    /// Holdings first, so that nothing is imported that is here; then who waits; then leases; then what follows.
    pub(super) fn take_inventory(&mut self, now: Moment, inventory: &Inventory) {
        let host = &inventory.host;
        let Some(no) = self.hosts.find(host) else {
            return;
        };
        if std::mem::replace(&mut self.hosts.at_mut(no).has_told, true) {
            return;
        }
        let holdings = inventory.holdings.iter().map(|task| Ask::holding(*task));
        let mut touched = Vec::new();
        for ask in holdings.chain(inventory.running.iter().cloned()) {
            match self.admit(now, no, &ask) {
                Ok(spot) => touched.push(spot),
                Err(cause) => self.outbox.push(Action::Refused {
                    host: *host,
                    task: Some(ask.task),
                    cause,
                }),
            }
        }
        for claim in &inventory.leases {
            self.take_claim(now, host, claim);
        }
        touched.sort_unstable();
        touched.dedup();
        for spot in touched {
            // An earlier entry for the same task may have been replaced by a later one.
            if self.hosts.at(no).tasks.get(&spot.task) == Some(&spot.seat) {
                self.tasks.at_mut(spot.task).end_orphaned_lease(host);
                if !self.tasks.at(spot.task).member(spot.seat).complete {
                    self.introduce_all(spot);
                }
                self.review(now, spot.task);
            }
        }
    }

    /// A lease that a host says it holds stays its own, unless another host has the task's lease by now.
    fn take_claim(&mut self, now: Moment, host: &HostId, claim: &LeaseClaim) {
        if claim.epoch > Epoch::CLAIM_MAX {
            return;
        }
        self.last_epoch = self.last_epoch.max(claim.epoch);
        let is_kept = match self.spot(host, &claim.task) {
            Some(spot) => self.keep_claim(now, spot, claim),
            None => false,
        };
        if !is_kept {
            self.outbox.push(Action::Revoke {
                host: *host,
                task: claim.task,
                epoch: claim.epoch,
            });
        }
    }

    fn keep_claim(&mut self, now: Moment, spot: Spot, claim: &LeaseClaim) -> bool {
        let Spot { task: no, seat } = spot;
        let task = self.tasks.at_mut(no);
        let holder = self.hosts.at(task.member(seat).host);
        let member = task.member(seat);
        if member.complete || holder.is_low() || member.rights == CanImport::No {
            return false;
        }
        match &mut task.lease {
            Some(held) if held.holder != holder.id || held.epoch != claim.epoch => return false,
            Some(held) => held.seat = Some(seat),
            none => {
                let remaining = claim.remaining.min(self.policy.lease_valid_for);
                *none = Some(Held {
                    holder: holder.id,
                    seat: Some(seat),
                    epoch: claim.epoch,
                    until: now + remaining + self.policy.lease_margin,
                    granted_at: now,
                    revoked: false,
                    imported: 0,
                });
            }
        }
        let lease = task.lease.as_mut().expect("set above");
        if lease.revoked {
            return false;
        }
        let term = lease.renew(now, &self.policy, holder);
        self.outbox.push(Action::Renew {
            host: holder.id,
            task: claim.task,
            epoch: claim.epoch,
            term,
        });
        true
    }
}
