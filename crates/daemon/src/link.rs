//! One link's incoming side: pieces go straight through the hash into the file, everything else to the core.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use identity::verify;
use store::{PieceWriter, WriteError};
use tracing::debug;
use types::{ClusterId, HostId, PieceIndex, Segment, TaskId};
use wire::{
    Assembly, LinkEnd, LinkReceiver, Message,
    codec::{Data, Progress},
};

use crate::{
    core::{Event, Events, LinkNo},
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
    /// Pieces of which a part has come.
    pub(crate) receiving: BTreeMap<(TaskId, PieceIndex), Receiving>,
}

/// A piece on its way in.
pub(crate) struct Receiving {
    assembly: Assembly,
    /// `None`: the rest is dropped as it comes, for somebody else brought it or nothing vouches for it.
    writer: Option<PieceWriter>,
    told_ending: bool,
    /// When the core was last told that bytes come.
    told_at: Instant,
}

/// How often the core hears that bytes of a piece come, so that a large piece on a slow link is not taken for a silent
/// one: well below the shortest time that a request may be silent for.
const TELL_EVERY: Duration = Duration::from_millis(100);

impl Incoming {
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
    fn segment(&self, task: TaskId, segment: Segment) {
        let Some(task) = self.tasks.get(&task) else {
            return;
        };
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
        if self.tasks.may_sign(&segment.signer, &task) {
            task.keep_segment(Arc::new(segment));
        } else {
            debug!(signer = ?segment.signer, task = ?task.spec.task, "a segment's signer was not named importer");
        }
    }

    async fn data(&mut self, id: TaskId, data: &Data) -> Result<(), LinkEnd> {
        let Some(task) = self.tasks.get(&id) else {
            return Ok(());
        };
        let key = (id, data.piece);
        if data.offset == 0 {
            let receiving = self.begin(&task, data.piece);
            self.receiving.insert(key, receiving);
            self.bytes_came(id, data.piece).await;
        }
        let Some(receiving) = self.receiving.get_mut(&key) else {
            return Ok(());
        };
        let progress = receiving.assembly.take(data)?;
        if let Some(writer) = &mut receiving.writer
            && let Err(cause) = tokio::task::block_in_place(|| writer.write(&data.bytes))
        {
            receiving.writer = None;
            self.events
                .tell(Event::StoreFailed { task: id, cause })
                .await;
            return Ok(());
        }
        if receiving.told_at.elapsed() >= TELL_EVERY {
            receiving.told_at = Instant::now();
            self.bytes_came(id, data.piece).await;
        } else if progress == Progress::More && !receiving.told_ending {
            // A loaded link answers in about the time of a piece: from its first frame on it is time for the next request.
            receiving.told_ending = true;
            self.events
                .tell(Event::Ending {
                    link: self.link,
                    task: id,
                    piece: data.piece,
                })
                .await;
        }
        if progress == Progress::Complete
            && let Some(receiving) = self.receiving.remove(&key)
        {
            self.complete(&task, data.piece, receiving.writer).await;
        }
        Ok(())
    }

    async fn bytes_came(&self, task: TaskId, piece: PieceIndex) {
        let link = self.link;
        let event = Event::Progress { link, task, piece };
        self.events.tell(event).await;
    }

    /// Opens the way into the file for a piece that was asked of this host and that somebody vouches for.
    fn begin(&self, task: &Task, piece: PieceIndex) -> Receiving {
        let is_wanted =
            task.is_awaited(self.host, piece) && task.table.read().digest_of(piece).is_some();
        let writer = if is_wanted {
            task.content.writer(piece).ok()
        } else {
            None
        };
        Receiving {
            assembly: Assembly::new(&task.spec.layout, piece),
            writer,
            told_ending: false,
            told_at: Instant::now(),
        }
    }

    async fn complete(&self, task: &Task, piece: PieceIndex, writer: Option<PieceWriter>) {
        let (link, id) = (self.link, task.spec.task);
        task.awaited(self.host, piece, false);
        let expected = task.table.read().digest_of(piece);
        let (Some(writer), Some(expected)) = (writer, expected) else {
            self.events
                .tell(Event::Dropped {
                    link,
                    task: id,
                    piece,
                })
                .await;
            return;
        };
        let event = match tokio::task::block_in_place(|| writer.finish(Some(expected))) {
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
            Err(WriteError::Held { .. } | WriteError::Busy { .. } | WriteError::Voided { .. }) => {
                Event::Dropped {
                    link,
                    task: id,
                    piece,
                }
            }
            Err(cause) => Event::StoreFailed { task: id, cause },
        };
        self.events.tell(event).await;
    }
}
