//! What other hosts saw of sources: the doors ask, the scheduler answers.

use std::collections::BTreeMap;

use control::{Found, HostMessage};
use tokio::sync::oneshot;
use types::Source;

use super::Core;
use crate::handle::Look;

/// Who waits for the scheduler's answer. Cleared with the connection: then everybody looks for itself.
#[derive(Default)]
pub(super) struct Looks {
    waiting: BTreeMap<Source, Vec<oneshot::Sender<Look>>>,
}

impl Looks {
    /// Sources that are asked for at once; for further ones this host looks itself.
    const SOURCES_MAX: usize = 1024;

    /// Adds one who waits. True if the scheduler is to be asked; none if there are too many.
    fn wait(&mut self, source: &Source, reply: oneshot::Sender<Look>) -> Option<bool> {
        self.waiting.retain(|_, waiting| {
            waiting.retain(|one| !one.is_closed());
            !waiting.is_empty()
        });
        if self.waiting.len() >= Self::SOURCES_MAX && !self.waiting.contains_key(source) {
            return None;
        }
        let waiting = self.waiting.entry(source.clone()).or_default();
        waiting.push(reply);
        Some(waiting.len() == 1)
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }
}

impl Core {
    pub(super) fn look(&mut self, source: Source, reply: oneshot::Sender<Look>) {
        if !self.scheduling.is_connected() {
            return; // Who asked learns by the dropped reply that it looks itself.
        }
        if self.looks.wait(&source, reply) == Some(true) {
            self.scheduling.say(HostMessage::Look { source });
        }
    }

    pub(super) fn looked(&mut self, source: Source, found: Option<Found>) {
        self.scheduling.say(HostMessage::Looked { source, found });
    }

    pub(super) fn look_answered(&mut self, source: &Source, answer: &Look) {
        tracing::debug!(%source, ?answer, "the scheduler answered what a source is");
        for reply in self.looks.waiting.remove(source).unwrap_or_default() {
            // Who has waited enough looks by now.
            drop(reply.send(answer.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_questions_are_asked_once_and_forgotten_with_who_asked() {
        let mut looks = Looks::default();
        let at = |number: usize| Source::Url(format!("https://origin.example/{number}"));
        let (first, answer) = oneshot::channel();
        assert_eq!(looks.wait(&at(0), first), Some(true));
        let (second, other) = oneshot::channel();
        assert_eq!(looks.wait(&at(0), second), Some(false));
        drop((answer, other));
        let (third, _answer) = oneshot::channel();
        assert_eq!(
            looks.wait(&at(0), third),
            Some(true),
            "nobody waited any more"
        );
        let (replies, answers): (Vec<_>, Vec<_>) =
            (1..=Looks::SOURCES_MAX).map(|_| oneshot::channel()).unzip();
        let asked = replies.into_iter().enumerate();
        let taken = asked.filter_map(|(number, reply)| looks.wait(&at(number + 1), reply));
        assert_eq!(taken.count(), Looks::SOURCES_MAX - 1);
        drop(answers);
    }
}
