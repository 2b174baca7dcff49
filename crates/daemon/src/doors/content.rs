//! The doors' way to content: opens what was found, as a task or past everything.

use std::{
    io,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use gateway::{
    Caller, Class, ContentAsk, ContentReader, Description, Efficiency, OpenError, Opened, Proof,
    ReadError, SourceBytes, VerifiedReader, Wanted,
};
use tokio::time::timeout;
use types::{ByteCount, ByteRange, Digest, PieceIndex, PieceRun};

use super::{
    Doors,
    direct::Direct,
    refusal,
    resolve::{Alone, Found, Word},
    stream_through::{SpoolError, Spooling, Through, blocking},
    sturdy::{PastStore, Sturdy},
    told::Told,
};
use crate::{
    handle::Fetch,
    metrics::Metrics,
    reader::TaskReader,
    task::{From, TaskError, TaskSpec},
};

/// How long the first piece may keep a client of the mirror from its headers, which are due within 300 ms.
const TOLD_WAIT: Duration = Duration::from_millis(200);

impl ContentReader for Doors {
    fn open<'a>(&'a self, ask: &'a ContentAsk) -> BoxFuture<'a, Result<Opened, OpenError>> {
        async move {
            let begun = Instant::now();
            match self.resolver.find(ask, self.word()).await? {
                Found::Shared {
                    spec,
                    content_type,
                    is_sure: false,
                } => self.told(ask, (spec, content_type), begun).await,
                found => self.found(ask, found, begun).await,
            }
        }
        .boxed()
    }

    fn describe<'a>(
        &'a self,
        ask: &'a ContentAsk,
    ) -> BoxFuture<'a, Result<Description, OpenError>> {
        async move {
            match self.resolver.find(ask, self.word()).await? {
                Found::Shared {
                    spec, content_type, ..
                } => Ok(Description {
                    task: spec.task,
                    length: spec.layout.length(),
                    content_type,
                }),
                Found::Alone(alone) => match alone.length {
                    Some(length) => Ok(alone.description(length)),
                    // Only reading it to its end tells the length.
                    None => Ok(self.alone(ask, alone).await?.description),
                },
            }
        }
        .boxed()
    }
}

impl Doors {
    fn word(&self) -> Word {
        if self.bypass.is_on() {
            Word::OriginsToCaller
        } else {
            Word::Anybodys
        }
    }

    async fn found(
        &self,
        ask: &ContentAsk,
        found: Found,
        begun: Instant,
    ) -> Result<Opened, OpenError> {
        match found {
            Found::Shared {
                spec, content_type, ..
            } => self.shared(ask, (spec, content_type), begun).await,
            Found::Alone(alone) => self.alone(ask, alone).await,
        }
    }

    /// Content whose length nobody but another host told: the consumer hears of it when the first piece has come, which
    /// no wrong length survives, or when a client of the mirror must have an answer. Else this host looks itself.
    async fn told(
        &self,
        ask: &ContentAsk,
        told: (TaskSpec, Option<String>),
        begun: Instant,
    ) -> Result<Opened, OpenError> {
        let (task, length) = (told.0.task, told.0.layout.length());
        let at = match ask.range {
            None => Some(0),
            Some(range) => range.within(length).map(|range| range.start()),
        };
        if let Some(at) = at
            && !self.resolver.doubted.contains(&task, begun)
            && let Ok(mut opened) = self.shared(ask, told, begun).await
        {
            let first = opened.reader.ready(at);
            let first = match ask.caller {
                Caller::Tcp(_) => timeout(TOLD_WAIT, first).await,
                Caller::Unix { .. } => Ok(first.await),
            };
            match first {
                Ok(Ok(_)) => return Ok(opened),
                Err(_) => {
                    opened.reader = Box::new(Told {
                        reader: opened.reader,
                        task,
                        doubted: Arc::clone(&self.resolver.doubted),
                    });
                    return Ok(opened);
                }
                Ok(Err(error)) => {
                    tracing::info!(%task, error = &error as &dyn std::error::Error, "what was told of a source brought nothing; looking at the origin");
                }
            }
        }
        let found = self.resolver.find(ask, Word::Origins).await?;
        self.found(ask, found, begun).await
    }

    async fn shared(
        &self,
        ask: &ContentAsk,
        (spec, content_type): (TaskSpec, Option<String>),
        begun: Instant,
    ) -> Result<Opened, OpenError> {
        let length = spec.layout.length();
        let asked = ask.range.and_then(|range| range.within(length));
        let run = match (asked, ask.range) {
            (Some(range), _) => spec.layout.pieces_of(range),
            (None, Some(_)) => None,
            (None, None) => Some(spec.layout.all()),
        };
        let fetch = Fetch {
            whole: ask.range.is_none() || ask.prefetch,
            class: match ask.class {
                Class::Waiting => swarm::Class::Foreground,
                Class::Ahead => swarm::Class::Background,
            },
            own_digest: ask.proof == Proof::OwnDigest && ask.range.is_none(),
            looked: begun.elapsed(),
        };
        let run = run.unwrap_or(PieceRun::one(PieceIndex(0)));
        match self.handle.open(spec.clone(), run, fetch).await {
            Ok(reader) => {
                let is_part = !fetch.whole && !reader.task().content.have().is_full();
                if is_part && self.config.fill && matches!(ask.wanted, Wanted::Blob { .. }) {
                    self.fills.begin(&self.handle, spec.clone());
                }
                let wanted = asked.map_or(length, |range| range.length());
                let local = ByteCount(reader.bytes().0).min(wanted);
                self.metrics.body(From::Store, local);
                Ok(Opened {
                    description: Description {
                        task: spec.task,
                        length,
                        content_type,
                    },
                    reader: self.sturdy(
                        ask,
                        (spec, asked.unwrap_or(ByteRange::whole(length))),
                        SwarmReader {
                            reader,
                            begun,
                            has_begun: false,
                            metrics: self.metrics.clone(),
                        },
                    ),
                })
            }
            Err(error) if matches!(*error, TaskError::Store(_) | TaskError::Broke) => {
                tracing::warn!(task = %spec.task, error = &error as &dyn std::error::Error, "streamed past the store");
                self.past_store(ask, (spec, content_type)).await
            }
            Err(error) => Err(refusal::of_task(&error)),
        }
    }

    /// A consumer that needs no file gets on without one if the disk fails.
    fn sturdy(
        &self,
        ask: &ContentAsk,
        (spec, range): (TaskSpec, ByteRange),
        reader: SwarmReader,
    ) -> Box<dyn VerifiedReader> {
        match ask.caller {
            Caller::Tcp(_) => {
                let accesses = &self.resolver.accesses;
                let past = PastStore {
                    own: self.resolver.own_access(ask, &spec),
                    accesses: accesses.clone(),
                    spec,
                    range,
                    metrics: self.metrics.clone(),
                };
                Box::new(Sturdy::new(Box::new(reader), past))
            }
            Caller::Unix { .. } => Box::new(reader),
        }
    }

    async fn past_store(
        &self,
        ask: &ContentAsk,
        (spec, content_type): (TaskSpec, Option<String>),
    ) -> Result<Opened, OpenError> {
        let access = self.resolver.accesses.of(&spec).await;
        let access = access.map_err(|error| OpenError::Unavailable(error.into()))?;
        let alone = Alone {
            task: spec.task,
            length: Some(spec.layout.length()),
            digest: spec.digest,
            content_type,
            access,
        };
        self.alone(ask, alone).await
    }

    async fn alone(&self, ask: &ContentAsk, alone: Alone) -> Result<Opened, OpenError> {
        // A range that lies beyond the end is refused by the door: nothing will be read.
        let place = alone.length.map(|length| {
            let range = ask.range.and_then(|range| range.within(length));
            (length, range.unwrap_or(ByteRange::whole(length)))
        });
        if let (Some(place), Caller::Tcp(_)) = (place, &ask.caller) {
            let metrics = self.metrics.clone();
            let direct = Direct::open(&alone.access, place, alone.digest, metrics).await;
            return Ok(Opened {
                description: alone.description(place.0),
                reader: Box::new(direct.map_err(refusal::of_read)?),
            });
        }
        let is_digest_asked = ask.proof == Proof::OwnDigest && ask.range.is_none();
        self.spooled(alone, place, is_digest_asked).await
    }

    async fn spooled(
        &self,
        alone: Alone,
        place: Option<(ByteCount, ByteRange)>,
        is_digest_asked: bool,
    ) -> Result<Opened, OpenError> {
        let store = self.resolver.store.clone();
        let room = blocking(move || store.spare().map_err(io::Error::other)).await;
        let spooling = Spooling {
            access: &alone.access,
            digest: alone.digest,
            is_digest_asked,
            dir: &self.config.data_dir,
            room: room.map_err(|error| OpenError::Unavailable(error.into()))?,
            metrics: self.metrics.clone(),
        };
        let opened = match place {
            Some((length, range)) => {
                let through = Through::open(spooling, length, range).await;
                through.map(|through| (through, length))
            }
            None => Through::open_all(spooling).await,
        };
        let (reader, length) = opened.map_err(|error| match error {
            SpoolError::Origin(error) => refusal::of_read(error),
            other => OpenError::NoRoom(other.into()),
        })?;
        Ok(Opened {
            description: alone.description(length),
            reader: Box::new(reader),
        })
    }
}

impl Alone {
    fn description(&self, length: ByteCount) -> Description {
        Description {
            task: self.task,
            length,
            content_type: self.content_type.clone(),
        }
    }
}

/// A reader of a task.
struct SwarmReader {
    reader: TaskReader,
    begun: Instant,
    has_begun: bool,
    metrics: Metrics,
}

impl SwarmReader {
    fn main_source(&self) -> From {
        let (local, peer, origin) = self.reader.bytes();
        [
            (local, From::Store),
            (peer, From::Peer),
            (origin, From::Origin),
        ]
        .into_iter()
        .max_by_key(|(bytes, _)| *bytes)
        .map_or(From::Store, |(_, from)| from)
    }

    async fn ready_at(&mut self, at: u64) -> Result<ByteRange, ReadError> {
        let ready = self.reader.ready(at).await;
        let ready = ready.map_err(refusal::while_reading)?;
        if !self.has_begun {
            self.has_begun = true;
            let waited = self.begun.elapsed();
            self.metrics.first_byte(self.main_source(), waited);
        }
        Ok(ready)
    }

    /// A digest is proved by hashing everything, or by a seed that did; without one, every piece has to be here and
    /// verified.
    async fn proof(&mut self, proof: Proof) -> Result<Option<Digest>, ReadError> {
        let spec = &self.reader.task().spec;
        let length = spec.layout.length();
        let proved = if spec.digest.is_some() {
            let proved = match proof {
                Proof::Sealed => self.reader.vouched().await,
                Proof::OwnDigest => self.reader.proven().await.map(Some),
            };
            proved.map_err(refusal::while_reading)?
        } else {
            let mut at = 0;
            while at < length.0 {
                at = self.ready_at(at).await?.end();
            }
            None
        };
        let took = self.begun.elapsed();
        self.metrics.throughput(self.main_source(), (length, took));
        Ok(proved)
    }
}

impl VerifiedReader for SwarmReader {
    fn ready(&mut self, at: u64) -> BoxFuture<'_, Result<ByteRange, ReadError>> {
        self.ready_at(at).boxed()
    }

    fn read(&mut self, range: ByteRange) -> BoxFuture<'_, Result<Bytes, ReadError>> {
        async move {
            let read = self.reader.read(range).await;
            read.map_err(refusal::while_reading)
        }
        .boxed()
    }

    fn finish(&mut self, proof: Proof) -> BoxFuture<'_, Result<Option<Digest>, ReadError>> {
        self.proof(proof).boxed()
    }

    fn descriptor(&self) -> io::Result<OwnedFd> {
        let content = &self.reader.task().content;
        content.open_read_only().map_err(io::Error::other)
    }

    fn sources(&self) -> SourceBytes {
        let (local, peer, origin) = self.reader.bytes();
        SourceBytes {
            local,
            peer,
            origin,
        }
    }

    fn is_unshared(&self) -> bool {
        let (.., origin) = self.reader.bytes();
        origin > 0 && self.reader.task().is_unshared()
    }

    /// Only who waited for bytes is told: what was here already was another's task.
    fn efficiency(&self) -> Option<Efficiency> {
        let (_, peer, origin) = self.reader.bytes();
        let told = self.reader.task().efficiency();
        told.filter(|_| peer + origin > 0)
    }
}
