//! Reading a payload field by field; every read is checked.

use bytes::{Buf, Bytes};
use types::{PieceIndex, PieceRun};

use super::{Kind, Runs, Violation};

pub(super) struct Cursor {
    kind: Kind,
    rest: Bytes,
}

impl Cursor {
    pub(super) fn new(kind: Kind, payload: Bytes) -> Self {
        Self {
            kind,
            rest: payload,
        }
    }

    pub(super) fn take(&mut self, length: usize) -> Result<Bytes, Violation> {
        if self.rest.len() < length {
            return Err(Violation::Short {
                kind: self.kind as u8,
            });
        }
        Ok(self.rest.split_to(length))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let mut array = [0; N];
        self.take(N)?.copy_to_slice(&mut array);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Violation> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool, Violation> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Violation::Field(name)),
        }
    }

    pub(super) fn u16(&mut self) -> Result<u16, Violation> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Violation> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Violation> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn run(&mut self) -> Result<PieceRun, Violation> {
        Ok(PieceRun {
            first: PieceIndex(self.u32()?),
            count: self.u32()?,
        })
    }

    pub(super) fn runs(&mut self) -> Result<Runs, Violation> {
        let count = usize::from(self.u16()?);
        if !(1..=Runs::COUNT_MAX).contains(&count) {
            return Err(Violation::RunCount(count));
        }
        let runs = (0..count)
            .map(|_| self.run())
            .collect::<Result<Vec<_>, _>>()?;
        if runs.iter().any(|run| run.count == 0) {
            return Err(Violation::EmptyRun);
        }
        Runs::new(runs).map_err(|_| Violation::Field("run"))
    }

    /// What is left, whatever its length.
    pub(super) fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.rest)
    }

    pub(super) fn finish(self) -> Result<(), Violation> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Violation::Trailing {
                kind: self.kind as u8,
            })
        }
    }
}
