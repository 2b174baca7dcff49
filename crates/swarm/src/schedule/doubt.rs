//! A whole that turned out wrong: somebody else imports it.
//!
//! One host's word is enough for this, and for nothing more. It costs the doubted host the lease of one task, which
//! harms nobody; whether it lied or its origin did shows only once the content was read again.

use types::Moment;

use super::{brain::Schedule, event::Doubt, member::DOUBTED, task::Spot};

impl Schedule {
    pub(super) fn doubt(&mut self, now: Moment, doubt: &Doubt) {
        let Some(Spot { task: no, .. }) = self.spot(&doubt.by, &doubt.task) else {
            return;
        };
        if doubt.by == doubt.of || !self.tasks.at_mut(no).note_doubt(doubt.of) {
            return;
        }
        // A seed that has no part in it reads it next, if there is one.
        self.tasks.at_mut(no).was_seed_sought = false;
        if let Some(spot) = self
            .spot(&doubt.of, &doubt.task)
            .filter(|spot| spot.task == no)
        {
            self.change_member(spot, |member| member.tries = DOUBTED);
            self.distrust_holder(spot);
        }
        self.review(now, no);
    }
}
