//! One link's incoming side: pieces go straight through the hash into the file, everything else to the core.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use identity::verify;
use store::WriteError;
use tokio::time::Instant;
use tracing::debug;
use types::{ClusterId, HostId, PieceIndex, PieceRun, Seal, Segment, TaskId};
use wire::{
    Assembly, LinkEnd, LinkReceiver, LinkSender, Message,
    codec::{Data, Progress},
};

use crate::{
    core::{Event, Events, LinkNo},
    near::Pace,
    reception::Slot,
    seal,
    task::Task,
    tasks::Tasks,
};

/// What a link's task knows.
pub(crate) struct Incoming {
    pub(crate) link: LinkNo,
    pub(crate) host: HostId,
    pub(crate) cluster: ClusterId,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) events: Events,
    /// Tells the link's round trip.
    pub(crate) sender: LinkSender,
    /// Pieces of which a part has come.
    pub(crate) receiving: BTreeMap<(TaskId, PieceIndex), Receiving>,
    /// Whose word came for pieces that are awaited, of signers that nobody named yet. Bounded.
    pub(crate) unnamed: BTreeMap<(TaskId, PieceIndex), HostId>,
    /// Certificates that it passed on and that nobody vouches for.
    pub(crate) certificates_refused: u32,
}

/// A piece on its way in.
pub(crate) struct Receiving {
    assembly: Assembly,
    way: Way,
    pace: Pace,
}

/// Where the bytes of a piece go.
enum Way {
    /// Into the file. Gone once the piece was withdrawn.
    Stored(Weak<Slot>),
    /// Nowhere: the rest is dropped as it comes.
    Dropped(Unused),
}

/// Why the bytes of a piece that was asked for are of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unused {
    /// Nothing vouches for it, but the word of who was not named yet, if there is one.
    Unvouched(Option<HostId>),
    /// Somebody else is bringing it, and may yet fail.
    Busy,
    /// Somebody else brought it.
    Held,
}

impl Incoming {
    /// Certificates that are looked at in vain before no more are: each costs the check of a signature.
    const CERTIFICATES_REFUSED_MAX: u32 = 256;
    /// Several times the pieces that are asked of one host at once.
    const UNNAMED_MAX: usize = 256;

    /// Runs until the link ends, and tells the core why.
    pub(crate) async fn run(mut self, mut receiver: LinkReceiver) {
        let end = loop {
            let step = match receiver.next().await {
                Ok(wire::Event::Data {
                    task,
                    data,
                    room: _until_used,
                }) => self.data(task, &data).await,
                Ok(wire::Event::Message {
                    task: Some(task),
                    message: Message::Segment { segment, .. },
                }) => {
                    self.segment(task, segment);
                    Ok(())
                }
                Ok(wire::Event::Message {
                    message: Message::Certificate(certificate),
                    ..
                }) => {
                    self.certificate(&certificate);
                    Ok(())
                }
                Ok(wire::Event::Message {
                    task: Some(task),
                    message: Message::Seal { seal, .. },
                }) => {
                    self.seal(task, seal).await;
                    Ok(())
                }
                Ok(wire::Event::Message { task, message }) => {
                    self.events
                        .tell(Event::Said {
                            link: self.link,
                            task,
                            message,
                        })
                        .await;
                    Ok(())
                }
                Ok(wire::Event::Upload { no, piece, end }) => {
                    self.events
                        .tell(Event::Uploaded {
                            link: self.link,
                            no,
                            piece,
                            end,
                        })
                        .await;
                    Ok(())
                }
                Err(end) => Err(end),
            };
            if let Err(end) = step {
                break end;
            }
        };
        self.events
            .tell(Event::LinkDown {
                link: self.link,
                end,
            })
            .await;
    }

    /// A signed word for digests: checked here, so that the core never waits for a signature.
    fn segment(&mut self, task: TaskId, segment: Segment) {
        let Some(task) = self.tasks.get(&task) else {
            return;
        };
        if task.table.read().refuses(&segment.signer) {
            return;
        }
        let is_fit = segment.is_well_formed()
            && segment.layout == task.spec.layout
            && verify(
                segment.signer,
                &segment.statement(&self.cluster),
                &segment.signature,
            );
        if !is_fit {
            debug!(host = %self.host, task = ?task.spec.task, "a segment of the piece table is forged or foreign");
            return;
        }
        let (signer, segment) = (segment.signer, Arc::new(segment));
        if task.may_sign(&signer) {
            return task.keep_segment(segment);
        }
        debug!(?signer, task = ?task.spec.task, "a segment's signer was not named importer yet");
        let is_awaited = |piece: &PieceIndex| task.awaited.is_expected(self.host, *piece);
        for piece in segment.run().pieces().filter(is_awaited) {
            self.unnamed.insert((task.spec.task, piece), signer);
        }
        while self.unnamed.len() > Self::UNNAMED_MAX {
            self.unnamed.pop_first();
        }
        task.set_aside(segment, self.host, &self.tasks.aside);
        if task.may_sign(&signer) {
            // It was named in this very moment. Who else has what was set aside, the core hears by the name.
            task.take_back();
        }
    }

    /// Who is a seed, or is none any more: its word may follow. Held against the authority, so that a lie tells nothing.
    fn certificate(&mut self, certificate: &[u8]) {
        if self.certificates_refused >= Self::CERTIFICATES_REFUSED_MAX {
            return;
        }
        match self.tasks.links.learn_certificate(certificate) {
            Ok(true) => debug!(host = %self.host, "a host passed on who is a seed"),
            Ok(false) => {}
            Err(cause) => {
                self.certificates_refused += 1;
                debug!(host = %self.host, error = &cause as &dyn std::error::Error, "a certificate that was passed on is not believed");
            }
        }
    }

    /// A signed word for the whole, checked here too. One is enough.
    async fn seal(&self, id: TaskId, seal: Seal) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        if task.content.seal().is_some() {
            return;
        }
        let is_seed = |host: &HostId| self.tasks.links.is_seed(host);
        match seal::check(&seal, &task.spec, (&self.cluster, is_seed)) {
            Ok(()) if task.keep_seal(seal) => self.events.tell(Event::Sealed { task: id }).await,
            Ok(()) => {}
            Err(fault) => {
                debug!(host = %self.host, task = ?id, error = &fault as &dyn std::error::Error, "a seal is refused");
                if fault.is_wilful() {
                    let link = self.link;
                    self.events.tell(Event::FalseSeal { link, task: id }).await;
                }
            }
        }
    }

    async fn data(&mut self, id: TaskId, data: &Data) -> Result<(), LinkEnd> {
        let Some(task) = self.tasks.get(&id) else {
            return Ok(());
        };
        let key = (id, data.piece);
        if data.offset == 0 {
            self.begin(&task, data).await;
        }
        let Some(receiving) = self.receiving.get_mut(&key) else {
            return Ok(());
        };
        let progress = receiving.assembly.take(data)?;
        match receiving.way.take(&data.bytes) {
            Ok(true) => {}
            // Withdrawn: nobody waits for a word of it.
            Ok(false) => {
                self.receiving.remove(&key);
                return Ok(());
            }
            Err(cause) => {
                self.receiving.remove(&key);
                task.awaited.withdraw(self.host, PieceRun::one(data.piece));
                self.events
                    .tell(Event::StoreFailed { task: id, cause })
                    .await;
                return Ok(());
            }
        }
        match progress {
            Progress::More => self.moved(key).await,
            Progress::Complete => {
                if let Some(receiving) = self.receiving.remove(&key) {
                    self.complete(&task, data.piece, receiving.way).await;
                }
            }
        }
        Ok(())
    }

    /// The first frame of a piece: opens the way into the file, if it was asked of this host and somebody vouches for it.
    async fn begin(&mut self, task: &Task, data: &Data) {
        let (id, piece) = (task.spec.task, data.piece);
        let unnamed = self.unnamed.remove(&(id, piece));
        // What was withdrawn half way, and will not come on.
        let host = self.host;
        self.receiving
            .retain(|(of, piece), _| *of != id || task.awaited.is_expected(host, *piece));
        if !task.awaited.is_expected(host, piece) {
            self.receiving.remove(&(id, piece));
            return;
        }
        let way = if task.table.read().digest_of(piece).is_none() {
            Way::Dropped(Unused::Unvouched(unnamed))
        } else {
            // A piece that an unclean boot put in doubt is hashed first.
            match tokio::task::block_in_place(|| task.content.writer(piece)) {
                Ok(writer) => Way::Stored(task.awaited.receive(host, piece, writer)),
                Err(WriteError::Held(_)) => Way::Dropped(Unused::Held),
                Err(WriteError::Busy(_)) => Way::Dropped(Unused::Busy),
                Err(cause) => {
                    task.awaited.withdraw(host, PieceRun::one(piece));
                    return self
                        .events
                        .tell(Event::StoreFailed { task: id, cause })
                        .await;
                }
            }
        };
        let layout = &task.spec.layout;
        let receiving = Receiving {
            assembly: Assembly::new(layout, piece),
            way,
            pace: Pace::new(Instant::now(), layout.length_of(piece), data.bytes.len()),
        };
        self.receiving.insert((id, piece), receiving);
        self.events
            .tell(Event::Progress {
                link: self.link,
                task: id,
                piece,
            })
            .await;
    }

    /// A frame came, and more follow. Of bytes the core is told when it has room to hear of them: it may be busy, and
    /// there will be more; that a piece ends it must hear.
    async fn moved(&mut self, key: (TaskId, PieceIndex)) {
        let Some(receiving) = self.receiving.get_mut(&key) else {
            return;
        };
        let (link, (task, piece), now) = (self.link, key, Instant::now());
        let got = receiving.assembly.received();
        if receiving
            .pace
            .is_ending(now, got, self.sender.counted().rtt)
        {
            return self.events.tell(Event::Ending { link, task, piece }).await;
        }
        if receiving.pace.is_worth_telling(now)
            && self.events.try_tell(Event::Progress { link, task, piece })
        {
            receiving.pace.told(now);
        }
    }

    async fn complete(&self, task: &Task, piece: PieceIndex, way: Way) {
        let (link, id) = (self.link, task.spec.task);
        let (is_expected, writer) = task.awaited.finish(self.host, piece);
        let dropped = |why| Event::Dropped {
            link,
            task: id,
            piece,
            why,
        };
        let expected = task.table.read().digest_of(piece);
        let event = match (way, writer, expected) {
            _ if !is_expected => return,
            (Way::Dropped(why), ..) => dropped(why),
            (Way::Stored(_), _, None) => dropped(Unused::Unvouched(None)),
            // An import took its place.
            (Way::Stored(_), None, _) => dropped(Unused::Busy),
            (Way::Stored(_), Some(writer), Some(expected)) => {
                match tokio::task::block_in_place(|| writer.finish(Some(expected))) {
                    Ok(_) => Event::Received {
                        link,
                        task: id,
                        piece,
                    },
                    Err(WriteError::Digest { .. } | WriteError::Length { .. }) => Event::Corrupt {
                        link,
                        task: id,
                        piece,
                    },
                    Err(WriteError::Held(_)) => dropped(Unused::Held),
                    Err(WriteError::Busy(_) | WriteError::Voided(_)) => dropped(Unused::Busy),
                    Err(cause) => Event::StoreFailed { task: id, cause },
                }
            }
        };
        self.events.tell(event).await;
    }
}

impl Way {
    /// Takes a part of the piece. False if the piece was withdrawn.
    fn take(&self, bytes: &[u8]) -> Result<bool, WriteError> {
        let Self::Stored(slot) = self else {
            return Ok(true);
        };
        let Some(slot) = slot.upgrade() else {
            return Ok(false);
        };
        tokio::task::block_in_place(|| match &mut *slot.lock() {
            Some(writer) => writer.write(bytes).map(|()| true),
            None => Ok(false),
        })
    }
}
