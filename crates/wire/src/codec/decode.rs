//! From frames to messages, with everything checked that can be checked without knowing what was wanted.

use bytes::Bytes;
use types::{
    ByteCount, Digest, Epoch, HostId, Layout, PieceDigest, PieceIndex, PieceRun, Seal, Segment,
    TaskId,
};

use super::{
    ALTERNATIVES_MAX, Data, DeclineReason, GoodbyeReason, Hello, Inventory, Kind, Message,
    REVOCATIONS_MAX, SlotHint, TaskNo, Violation, Wish,
    cursor::Cursor,
    tasks::{OpenTask, Tasks},
};

/// Below this, data is copied out, so that a few bytes do not keep a large receive buffer alive.
const COPY_BELOW: usize = 4096;

/// A checked frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A control message, and the task that its number stands for.
    Message {
        /// The task of the message's `no`, or of the message itself; none for messages about the link.
        task: Option<TaskId>,
        /// The message.
        message: Message,
    },
    /// A part of a piece, within the bounds of that piece.
    Data {
        /// The task of its `no`.
        task: TaskId,
        /// The frame.
        data: Data,
    },
}

/// Reads what one remote says, and knows which tasks it has open. One per connection.
#[derive(Debug)]
pub struct Decoder {
    tasks: Tasks,
    is_greeted: bool,
}

impl Decoder {
    /// A decoder that expects a hello, and allows `open_max` open tasks at once.
    pub fn new(open_max: usize) -> Self {
        Self {
            tasks: Tasks::new(open_max),
            is_greeted: false,
        }
    }

    /// Checks that a frame of `kind` may come now, before its payload is read.
    pub fn expect(&self, kind: Option<Kind>) -> Result<(), Violation> {
        match kind {
            Some(Kind::Hello) if self.is_greeted => Err(Violation::HelloAgain),
            Some(Kind::Hello) => Ok(()),
            other if !self.is_greeted => Err(Violation::HelloExpected(
                other.map_or(Kind::MAY_IGNORE, |kind| kind as u8),
            )),
            _ => Ok(()),
        }
    }

    /// Decodes one payload. Data shares its bytes with `payload`. After an error the decoder is of no more use.
    pub fn decode(&mut self, kind: Kind, payload: Bytes) -> Result<Received, Violation> {
        self.expect(Some(kind))?;
        let mut from = Cursor::new(kind, payload);
        let received = match kind {
            Kind::Piece => self.data(&mut from)?,
            Kind::Hello => {
                self.is_greeted = true;
                let message = Message::Hello(hello(&mut from)?);
                // Fields of later versions.
                from.rest();
                Received::Message {
                    task: None,
                    message,
                }
            }
            _ => {
                let (task, message) = self.message(kind, &mut from)?;
                Received::Message { task, message }
            }
        };
        from.finish()?;
        Ok(received)
    }

    fn data(&mut self, from: &mut Cursor) -> Result<Received, Violation> {
        let no = TaskNo(from.u32()?);
        let piece = PieceIndex(from.u32()?);
        let (offset, last) = (from.u32()?, from.flag("last flag")?);
        let mut bytes = from.rest();
        let OpenTask { task, layout } = self.tasks.admit_run(no, PieceRun::one(piece))?;
        if bytes.len() < COPY_BELOW {
            bytes = Bytes::copy_from_slice(&bytes);
        }
        let data = Data {
            no,
            piece,
            offset,
            last,
            bytes,
        };
        data.check(layout.length_of(piece).0)?;
        Ok(Received::Data { task, data })
    }

    fn message(
        &mut self,
        kind: Kind,
        from: &mut Cursor,
    ) -> Result<(Option<TaskId>, Message), Violation> {
        Ok(match kind {
            Kind::Slots => (None, Message::Slots(slots(from)?)),
            Kind::Ping => (None, Message::Ping(from.u64()?)),
            Kind::Pong => (None, Message::Pong(from.u64()?)),
            Kind::Goodbye => (None, Message::Goodbye(goodbye(from.u8()?))),
            Kind::Wish => {
                let wish = Wish::read(from)?;
                (Some(wish.task), Message::Wish(Box::new(wish)))
            }
            Kind::Certificate => {
                let certificate = Bytes::copy_from_slice(&from.rest());
                (None, Message::Certificate(certificate))
            }
            Kind::Decline => {
                let task = TaskId::from_bytes(from.array()?);
                (
                    Some(task),
                    Message::Decline {
                        task,
                        reason: decline(from.u8()?),
                    },
                )
            }
            _ => {
                let no = TaskNo(from.u32()?);
                let (task, message) = self.about_task(kind, no, from)?;
                (Some(task), message)
            }
        })
    }

    fn about_task(
        &mut self,
        kind: Kind,
        no: TaskNo,
        from: &mut Cursor,
    ) -> Result<(TaskId, Message), Violation> {
        match kind {
            Kind::Open => self.open(no, from),
            Kind::Close => Ok((self.tasks.close(no)?, Message::Close { no })),
            Kind::Have => {
                let (slots, runs) = (slots(from)?, from.runs()?);
                Ok((
                    self.tasks.admit(no, &runs)?,
                    Message::Have { no, runs, slots },
                ))
            }
            Kind::Importer => {
                let importer = from.flag("importer flag")?;
                let task = self.tasks.get(no)?.task;
                Ok((task, Message::Importer { no, importer }))
            }
            Kind::Want => {
                let (urgent, background) = (from.flag("urgency")?, from.flag("background flag")?);
                let runs = from.runs()?;
                Ok((
                    self.tasks.admit(no, &runs)?,
                    Message::Want {
                        no,
                        runs,
                        urgent,
                        background,
                    },
                ))
            }
            Kind::Cancel => {
                let runs = from.runs()?;
                Ok((self.tasks.admit(no, &runs)?, Message::Cancel { no, runs }))
            }
            Kind::Reveal => {
                let runs = from.runs()?;
                Ok((self.tasks.admit(no, &runs)?, Message::Reveal { no, runs }))
            }
            Kind::Missing => {
                let runs = from.runs()?;
                Ok((self.tasks.admit(no, &runs)?, Message::Missing { no, runs }))
            }
            Kind::Busy => {
                let (runs, hosts) = (from.runs()?, from.rest());
                if hosts.len() > ALTERNATIVES_MAX * 32 {
                    return Err(Violation::Field("number of alternatives"));
                }
                let alternatives = ids(&hosts, Kind::Busy)?.map(HostId::from_bytes).collect();
                Ok((
                    self.tasks.admit(no, &runs)?,
                    Message::Busy {
                        no,
                        runs,
                        alternatives,
                    },
                ))
            }
            Kind::Window => {
                let run = from.run()?;
                Ok((
                    self.tasks.admit_run(no, run)?.task,
                    Message::Window { no, run },
                ))
            }
            Kind::Segment => self.segment(no, from),
            Kind::Seal => self.seal(no, from),
            other => Err(Violation::UnknownKind(other as u8)),
        }
    }

    fn seal(&mut self, no: TaskNo, from: &mut Cursor) -> Result<(TaskId, Message), Violation> {
        let OpenTask { task, layout } = self.tasks.get(no)?;
        let seal = Seal {
            task,
            layout,
            root: Digest::blake3(from.array()?),
            signer: HostId::from_bytes(from.array()?),
            signature: from.array()?,
        };
        Ok((task, Message::Seal { no, seal }))
    }

    fn open(&mut self, no: TaskNo, from: &mut Cursor) -> Result<(TaskId, Message), Violation> {
        let task = TaskId::from_bytes(from.array()?);
        let layout =
            Layout::of(ByteCount(from.u64()?)).map_err(|_| Violation::Field("content length"))?;
        let importer = from.flag("importer flag")?;
        let piece_count = layout.piece_count();
        let have = match from.u8()? {
            0 => Inventory::Empty,
            1 => Inventory::Full,
            2 => {
                let bits = from.rest();
                if bits.len() != (piece_count as usize).div_ceil(64) * 8 {
                    return Err(Violation::Inventory { piece_count });
                }
                let (words, _) = bits.as_chunks::<8>();
                Inventory::Bitmap(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
            }
            3 => Inventory::Runs(from.runs()?),
            _ => return Err(Violation::Field("inventory form")),
        };
        if !have.fits(piece_count) {
            return Err(Violation::Inventory { piece_count });
        }
        self.tasks.open(no, OpenTask { task, layout })?;
        Ok((
            task,
            Message::Open {
                no,
                task,
                layout,
                have,
                importer,
            },
        ))
    }

    fn segment(&mut self, no: TaskNo, from: &mut Cursor) -> Result<(TaskId, Message), Violation> {
        let OpenTask { task, layout } = self.tasks.get(no)?;
        let epoch = Epoch(from.u64()?);
        let first = PieceIndex(from.u32()?);
        let signer = HostId::from_bytes(from.array()?);
        let signature = from.array()?;
        let digests = from.rest();
        if digests.len() > Segment::DIGESTS_MAX * 32 {
            return Err(Violation::Segment { no });
        }
        let digests = ids(&digests, Kind::Segment)?
            .map(PieceDigest::from_bytes)
            .collect();
        let segment = Segment {
            task,
            layout,
            epoch,
            first,
            digests,
            signer,
            signature,
        };
        if segment.is_well_formed() {
            Ok((task, Message::Segment { no, segment }))
        } else {
            Err(Violation::Segment { no })
        }
    }
}

/// A payload's tail as ids of 32 bytes.
fn ids(bytes: &Bytes, kind: Kind) -> Result<impl Iterator<Item = [u8; 32]>, Violation> {
    match bytes.as_chunks::<32>() {
        (ids, []) => Ok(ids.iter().copied()),
        _ => Err(Violation::Trailing { kind: kind as u8 }),
    }
}

fn hello(from: &mut Cursor) -> Result<Hello, Violation> {
    let (version, features) = (from.u16()?, from.u64()?);
    let (lane, listen_port) = (from.u8()?, from.u16()?);
    let cluster_length = usize::from(from.u8()?);
    let cluster = from.take(cluster_length)?;
    let cluster = std::str::from_utf8(&cluster)
        .ok()
        .and_then(|name| name.parse().ok())
        .ok_or(Violation::Field("cluster name"))?;
    let revocations = if from.flag("revocation flag")? {
        let length = from.u32()? as usize;
        if length > REVOCATIONS_MAX {
            return Err(Violation::Field("length of the revocations"));
        }
        Some(Bytes::copy_from_slice(&from.take(length)?))
    } else {
        None
    };
    Ok(Hello {
        version,
        cluster,
        features,
        lane,
        listen_port,
        revocations,
    })
}

fn slots(from: &mut Cursor) -> Result<SlotHint, Violation> {
    Ok(SlotHint {
        free: from.u8()?,
        opening: from.u8()?,
    })
}

fn decline(code: u8) -> DeclineReason {
    match code {
        1 => DeclineReason::NotTaking,
        2 => DeclineReason::LayoutDiffers,
        3 => DeclineReason::Full,
        4 => DeclineReason::NotAllowed,
        _ => DeclineReason::Other,
    }
}

fn goodbye(code: u8) -> GoodbyeReason {
    match code {
        1 => GoodbyeReason::Leaving,
        2 => GoodbyeReason::Idle,
        3 => GoodbyeReason::Duplicate,
        4 => GoodbyeReason::Violation,
        5 => GoodbyeReason::Revoked,
        6 => GoodbyeReason::Full,
        _ => GoodbyeReason::Other,
    }
}

#[cfg(test)]
mod tests;
