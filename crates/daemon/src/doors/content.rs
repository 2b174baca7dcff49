//! The doors' way to content: opens what was found, as a task or past everything.

use std::{io, os::fd::OwnedFd, time::Instant};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use gateway::{
    Class, ContentAsk, ContentReader, Description, OpenError, Opened, Proof, ReadError,
    SourceBytes, VerifiedReader,
};
use types::{ByteCount, ByteRange, Digest, PieceIndex, PieceRun};

use super::{
    Doors, refusal,
    resolve::{Alone, Found, Word},
    stream_through::{SpoolError, Spooling, Through, blocking},
};
use crate::{
    handle::Fetch,
    metrics::Metrics,
    reader::TaskReader,
    task::{From, TaskError, TaskSpec},
};

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
    /// no wrong length survives. Else this host looks itself.
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
            && let Ok(mut opened) = self.shared(ask, told, begun).await
        {
            match opened.reader.ready(at).await {
                Ok(_) => return Ok(opened),
                Err(error) => {
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
            whole: ask.range.is_none() || self.config.ranges_whole,
            class: match ask.class {
                Class::Waiting => swarm::Class::Foreground,
                Class::Ahead => swarm::Class::Background,
            },
            own_digest: ask.proof == Proof::OwnDigest && ask.range.is_none(),
        };
        let run = run.unwrap_or(PieceRun::one(PieceIndex(0)));
        match self.handle.open(spec.clone(), run, fetch).await {
            Ok(reader) => {
                let wanted = asked.map_or(length, |range| range.length());
                let local = ByteCount(reader.bytes().0).min(wanted);
                self.metrics.body(From::Store, local);
                Ok(Opened {
                    description: Description {
                        task: spec.task,
                        length,
                        content_type,
                    },
                    reader: Box::new(SwarmReader {
                        reader,
                        begun,
                        has_begun: false,
                        metrics: self.metrics.clone(),
                    }),
                })
            }
            Err(error) if matches!(*error, TaskError::Store(_)) => {
                tracing::warn!(task = %spec.task, error = &error as &dyn std::error::Error, "streamed past the store");
                self.past_store(ask, (spec, content_type)).await
            }
            Err(error) => Err(refusal::of_task(&error)),
        }
    }

    async fn past_store(
        &self,
        ask: &ContentAsk,
        (spec, content_type): (TaskSpec, Option<String>),
    ) -> Result<Opened, OpenError> {
        let accesses = &self.resolver.accesses;
        let access = match accesses.get(&spec.task) {
            Some(access) => access,
            None => {
                let found = accesses.for_source(spec.task, &spec.source, spec.digest);
                let found = found.await;
                found
                    .map_err(|error| OpenError::Unavailable(error.into()))?
                    .1
            }
        };
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
        let spooling = Spooling {
            access: &alone.access,
            digest: alone.digest,
            dir: &self.config.data_dir,
            metrics: self.metrics.clone(),
        };
        let opened = match alone.length {
            Some(length) => {
                // A range that lies beyond the end is refused by the door: nothing will be read.
                let range = ask.range.and_then(|range| range.within(length));
                let range = range.unwrap_or(ByteRange::whole(length));
                let through = Through::open(spooling, length, range).await;
                through.map(|through| (through, length))
            }
            None => {
                let store = self.resolver.store.clone();
                let usage = blocking(move || store.usage().map_err(io::Error::other)).await;
                let free = usage.map_err(|error| OpenError::Unavailable(error.into()))?;
                Through::open_all(spooling, ByteCount(free.free.0 / 2)).await
            }
        };
        let (reader, length) = opened.map_err(|error| match error {
            SpoolError::Origin(error) => refusal::of_read(error),
            other => OpenError::Unavailable(other.into()),
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
}
