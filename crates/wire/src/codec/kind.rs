//! The kinds of frames and the bytes before each payload.

use super::{
    ALTERNATIVES_MAX, CERTIFICATE_MAX, DATA_HEADER_LENGTH, DATA_MAX, PAYLOAD_MAX, PREFIX_LENGTH,
    REVOCATIONS_MAX, Runs, Violation, wish::TEXT_MAX,
};

/// What a frame is. The numbers are the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is documented at its message")]
pub enum Kind {
    Hello = 1,
    Open = 2,
    Decline = 3,
    Close = 4,
    Have = 5,
    Slots = 6,
    Want = 7,
    Cancel = 8,
    Busy = 9,
    Missing = 10,
    Piece = 11,
    Segment = 12,
    Seal = 13,
    Ping = 14,
    Pong = 15,
    Goodbye = 16,
    Reveal = 17,
    Importer = 18,
    Window = Kind::MAY_IGNORE | 1,
    Wish = Kind::MAY_IGNORE | 2,
    Certificate = Kind::MAY_IGNORE | 3,
}

impl Kind {
    /// Set in kinds that a host may skip when it does not know them.
    pub const MAY_IGNORE: u8 = 0x80;

    const ALL: [Self; 21] = [
        Self::Hello,
        Self::Open,
        Self::Decline,
        Self::Close,
        Self::Have,
        Self::Slots,
        Self::Want,
        Self::Cancel,
        Self::Busy,
        Self::Missing,
        Self::Piece,
        Self::Segment,
        Self::Seal,
        Self::Ping,
        Self::Pong,
        Self::Goodbye,
        Self::Reveal,
        Self::Importer,
        Self::Window,
        Self::Wish,
        Self::Certificate,
    ];

    /// The kind with this number, if this version knows it.
    pub fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// The largest payload in bytes, known before anything is allocated.
    pub const fn payload_max(self) -> usize {
        const RUNS: usize = 4 + 2 + 1 + Runs::COUNT_MAX * 8;
        match self {
            // A later version may add fields to the hello: 1 KiB is spare.
            Self::Hello => REVOCATIONS_MAX + 1024,
            Self::Open => PAYLOAD_MAX,
            Self::Have | Self::Reveal | Self::Want | Self::Cancel | Self::Missing => RUNS + 2,
            Self::Busy => RUNS + ALTERNATIVES_MAX * 32,
            Self::Piece => DATA_HEADER_LENGTH + DATA_MAX,
            Self::Segment => 4 + 8 + 4 + 2 + types::Segment::DIGESTS_MAX * 32 + 32 + 64,
            Self::Decline | Self::Seal => 160,
            Self::Close | Self::Slots | Self::Ping | Self::Pong | Self::Goodbye => 16,
            Self::Importer | Self::Window => 16,
            Self::Certificate => CERTIFICATE_MAX,
            Self::Wish => 32 + 8 + 1 + 4 * (2 + TEXT_MAX),
        }
    }
}

/// The checked first five bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The kind; `None` for one that is skipped.
    pub kind: Option<Kind>,
    /// Bytes of payload that follow.
    pub payload_length: usize,
}

impl Prefix {
    /// Reads a prefix. Errors: `EmptyFrame`, `UnknownKind`, `FrameTooLong`.
    pub fn parse(bytes: [u8; PREFIX_LENGTH]) -> Result<Self, Violation> {
        let [a, b, c, d, byte] = bytes;
        let length = u32::from_le_bytes([a, b, c, d])
            .checked_sub(1)
            .ok_or(Violation::EmptyFrame)?;
        let kind = Kind::of(byte);
        if kind.is_none() && byte & Kind::MAY_IGNORE == 0 {
            return Err(Violation::UnknownKind(byte));
        }
        let limit = kind.map_or(PAYLOAD_MAX, Kind::payload_max);
        match usize::try_from(length) {
            Ok(payload_length) if payload_length <= limit => Ok(Self {
                kind,
                payload_length,
            }),
            _ => Err(Violation::FrameTooLong {
                kind: byte,
                length,
                limit: u32::try_from(limit).unwrap_or(u32::MAX),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_lengths_are_refused_before_the_payload() {
        let prefix = |length: u32, kind: u8| {
            let [a, b, c, d] = length.to_le_bytes();
            Prefix::parse([a, b, c, d, kind])
        };
        assert_eq!(prefix(0, 1), Err(Violation::EmptyFrame));
        assert_eq!(prefix(1, 0x44), Err(Violation::UnknownKind(0x44)));
        assert_eq!(
            prefix(9, 0xee),
            Ok(Prefix {
                kind: None,
                payload_length: 8
            })
        );
        for kind in Kind::ALL {
            let limit = u32::try_from(kind.payload_max()).expect("small");
            assert!(kind.payload_max() <= PAYLOAD_MAX && prefix(limit + 1, kind as u8).is_ok());
            assert!(
                prefix(limit + 2, kind as u8).is_err() && prefix(u32::MAX, kind as u8).is_err()
            );
        }
        assert!(prefix(u32::MAX, 0xee).is_err());
    }
}
