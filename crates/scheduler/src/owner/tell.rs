//! Who belongs and who is a seed, as hosts are told of it.
//!
//! Two things are told of seeds: which are here, to be asked and found again, and whose certificates were seen, here or gone,
//! since what those signed is passed on for long.

use std::{sync::Arc, time::SystemTime};

use control::SchedulerMessage;
use identity::{RevocationList, Seeds};
use types::HostId;

use super::Desk;

/// All that are kept fit one message.
const _: () = assert!(Seeds::MAX <= SchedulerMessage::CERTIFICATES_MAX);
const _: () = assert!(Seeds::CERTIFICATE_MAX <= SchedulerMessage::CERTIFICATE_MAX);

impl Desk {
    /// Tells a newcomer which seeds are here, and everybody of a new seed.
    pub(super) fn tell_seeds(&mut self, host: HostId, is_seed: bool) {
        let seeds = self.seats.iter().filter(|(_, seat)| {
            let place = seat.place.as_ref();
            place.is_some_and(|(_, _, is_seed)| *is_seed)
        });
        let seeds: Vec<HostId> = seeds.map(|(seed, _)| *seed).take(64).collect();
        let everybody = self
            .seats
            .keys()
            .copied()
            .filter(|other| is_seed || *other == host);
        for to in everybody.collect::<Vec<_>>() {
            let seeds = self.neighbours(to, &seeds);
            self.send(to, SchedulerMessage::Members { seeds });
        }
    }

    /// Tells a newcomer whose word counts although no digest names the content.
    pub(super) fn tell_all_certificates(&mut self, host: HostId) {
        let valid = self.known.valid_at(SystemTime::now());
        let all: Vec<Vec<u8>> = valid.map(<[u8]>::to_vec).collect();
        if !all.is_empty() {
            self.send(host, SchedulerMessage::Certificates(all));
        }
    }

    /// Tells everybody of new certificates: of a seed, of one that renewed its own, of one that is a seed no more.
    pub(super) fn tell_certificates(&mut self, known: Arc<Seeds>) {
        let before = std::mem::replace(&mut self.known, Arc::clone(&known));
        let news: Vec<Vec<u8>> = known.news_since(&before).map(<[u8]>::to_vec).collect();
        if news.is_empty() {
            return; // Somebody was thrown out, which the list of revocations tells.
        }
        let joined = self.seats.iter().filter(|(_, seat)| seat.place.is_some());
        for host in joined.map(|(host, _)| *host).collect::<Vec<HostId>>() {
            self.send(host, SchedulerMessage::Certificates(news.clone()));
        }
    }

    /// Ends whatever hosts that were thrown out have here, their word included, and tells the others.
    pub(super) fn throw_out(&mut self, list: &RevocationList) {
        self.named.forget(|host| list.contains(*host));
        for host in self.seats.keys().copied().collect::<Vec<_>>() {
            if list.contains(host) {
                self.lose(host);
            } else {
                self.send(
                    host,
                    SchedulerMessage::Revocations(list.as_bytes().to_vec()),
                );
            }
        }
    }
}
