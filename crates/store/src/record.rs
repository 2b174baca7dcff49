//! The record of a content in the index: a version, then fields of fixed or stated length, little-endian.
//!
//! Pure. A record of a newer version is refused, so that a downgrade says so instead of guessing; a damaged one is told
//! apart from it, since only the damaged content need go.

use types::{ByteCount, Digest, DigestAlgorithm, HostId, Layout, Source, Visibility};

/// Why bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A newer release wrote it.
    #[error(
        "a record has version {found}, this release reads up to {known}: upgrade, or start with an empty store"
    )]
    Newer {
        /// Its version.
        found: u8,
        /// The newest we read.
        known: u8,
    },
    /// It was not written by any release.
    #[error("a record is damaged: {0}")]
    Damaged(&'static str),
}

/// What is known about one content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskRecord {
    pub(crate) layout: Layout,
    pub(crate) digest: Option<Digest>,
    pub(crate) source: Option<Source>,
    pub(crate) visibility: Visibility,
    pub(crate) name: Option<String>,
    /// Seconds since 1970.
    pub(crate) last_used: u64,
    /// Whether the whole digest was verified.
    pub(crate) complete: bool,
    /// Marked bytes and pieces, as the marks said when this was written.
    pub(crate) held: ByteCount,
    pub(crate) pieces: u32,
    /// Who signed the segments, if they vouched for every piece when this was written; else nobody. None where it is not
    /// known: in records of version 1, or of too many signers.
    pub(crate) vouchers: Option<Vec<HostId>>,
}

impl TaskRecord {
    const VERSION: u8 = 2;
    /// In place of a count of vouchers.
    const UNKNOWN: u8 = u8::MAX;
    /// More are not written down.
    pub(crate) const VOUCHERS_MAX: usize = 8;

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = Writer::new(Self::VERSION);
        to.layout(self.layout);
        to.u64(self.held.0);
        to.u32(self.pieces);
        to.u64(self.last_used);
        to.u8(u8::from(self.visibility == Visibility::Private));
        to.u8(0); // Reserved.
        to.u8(u8::from(self.complete));
        match &self.digest {
            None => to.u8(0),
            Some(digest) => {
                to.u8(1);
                to.digest(digest);
            }
        }
        match &self.name {
            None => to.u8(0),
            Some(name) => {
                to.u8(1);
                to.text(name);
            }
        }
        match &self.source {
            None => to.u8(0),
            Some(Source::Url(url)) => {
                to.u8(1);
                to.text(url);
            }
            Some(Source::Blob {
                registry,
                repository,
                digest,
            }) => {
                to.u8(2);
                to.text(registry.as_str());
                to.text(repository.as_str());
                to.digest(digest);
            }
        }
        match &self.vouchers {
            None => to.u8(Self::UNKNOWN),
            Some(vouchers) => {
                to.u8(u8::try_from(vouchers.len()).unwrap_or(Self::UNKNOWN));
                vouchers.iter().for_each(|host| to.bytes(host.as_bytes()));
            }
        }
        to.0
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut from = Reader::new(bytes, Self::VERSION)?;
        let is_old = bytes.first() == Some(&1);
        let layout = from.layout()?;
        let held = ByteCount(from.u64()?);
        let pieces = from.u32()?;
        let last_used = from.u64()?;
        let visibility = if from.flag()? {
            Visibility::Private
        } else {
            Visibility::Public
        };
        let record = Self {
            layout,
            held,
            pieces,
            last_used,
            visibility,
            complete: {
                let _reserved = from.flag()?;
                from.flag()?
            },
            digest: from.flag()?.then(|| from.digest()).transpose()?,
            name: from
                .flag()?
                .then(|| from.text().map(str::to_owned))
                .transpose()?,
            source: from.source()?,
            vouchers: match is_old {
                true => None,
                false => from.vouchers()?,
            },
        };
        from.end()?;
        if record.held > layout.length() || record.pieces > layout.piece_count() {
            return Err(RecordError::Damaged("more is held than there is"));
        }
        Ok(record)
    }
}

/// Appends fields to a record.
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn new(version: u8) -> Self {
        Self(vec![version])
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    pub(crate) fn layout(&mut self, layout: Layout) {
        self.u64(layout.length().0);
        self.u64(layout.piece_length().0);
    }

    pub(crate) fn digest(&mut self, digest: &Digest) {
        self.u8(match digest.algorithm() {
            DigestAlgorithm::Sha256 => 1,
            DigestAlgorithm::Blake3 => 2,
        });
        self.bytes(digest.as_bytes());
    }

    fn text(&mut self, text: &str) {
        self.u64(text.len() as u64);
        self.bytes(text.as_bytes());
    }
}

/// Takes fields from a record. Nothing is allocated for bytes that are not there.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], known: u8) -> Result<Self, RecordError> {
        match bytes.split_first() {
            None => Err(RecordError::Damaged("it is empty")),
            Some((0, _)) => Err(RecordError::Damaged("there is no version 0")),
            Some((&found, _)) if found > known => Err(RecordError::Newer { found, known }),
            Some((_, rest)) => Ok(Self(rest)),
        }
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], RecordError> {
        let (bytes, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(RecordError::Damaged("it is cut short"))?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        Ok(*self.bytes(N)?.as_array().expect("as many as asked for"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, RecordError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, RecordError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, RecordError> {
        self.array().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Result<bool, RecordError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(RecordError::Damaged("a flag is neither yes nor no")),
        }
    }

    pub(crate) fn layout(&mut self) -> Result<Layout, RecordError> {
        let (length, piece_length) = (self.u64()?, self.u64()?);
        Layout::custom(ByteCount(length), ByteCount(piece_length))
            .map_err(|_| RecordError::Damaged("its layout cannot be"))
    }

    pub(crate) fn digest(&mut self) -> Result<Digest, RecordError> {
        match (self.u8()?, self.array()?) {
            (1, bytes) => Ok(Digest::sha256(bytes)),
            (2, bytes) => Ok(Digest::blake3(bytes)),
            _ => Err(RecordError::Damaged("a digest has an unknown algorithm")),
        }
    }

    fn text(&mut self) -> Result<&'a str, RecordError> {
        let length = usize::try_from(self.u64()?).unwrap_or(usize::MAX);
        std::str::from_utf8(self.bytes(length)?)
            .map_err(|_| RecordError::Damaged("a text is not UTF-8"))
    }

    fn source(&mut self) -> Result<Option<Source>, RecordError> {
        const BAD: RecordError = RecordError::Damaged("its source has no proper name");
        match self.u8()? {
            0 => Ok(None),
            1 => Ok(Some(Source::Url(self.text()?.to_owned()))),
            2 => Ok(Some(Source::Blob {
                registry: self.text()?.parse().map_err(|_| BAD)?,
                repository: self.text()?.parse().map_err(|_| BAD)?,
                digest: self.digest()?,
            })),
            _ => Err(RecordError::Damaged("its source is of an unknown kind")),
        }
    }

    fn vouchers(&mut self) -> Result<Option<Vec<HostId>>, RecordError> {
        let count = match self.u8()? {
            TaskRecord::UNKNOWN => return Ok(None),
            count => usize::from(count),
        };
        if count > TaskRecord::VOUCHERS_MAX {
            return Err(RecordError::Damaged("too many vouch for it"));
        }
        let hosts = (0..count).map(|_| self.array().map(HostId::from_bytes));
        hosts.collect::<Result<_, _>>().map(Some)
    }

    pub(crate) fn end(self) -> Result<(), RecordError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(RecordError::Damaged("bytes follow its end"))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digests() -> impl Strategy<Value = Digest> {
        (any::<bool>(), any::<[u8; 32]>()).prop_map(|(sha, bytes)| {
            if sha {
                Digest::sha256(bytes)
            } else {
                Digest::blake3(bytes)
            }
        })
    }

    fn sources() -> impl Strategy<Value = Source> {
        prop_oneof![
            any::<String>().prop_map(Source::Url),
            ("[a-z]{1,8}:50[0-9]{2}", "[a-z]{1,5}/[a-z]{1,5}", digests()).prop_map(
                |(registry, repository, digest)| Source::Blob {
                    registry: registry.parse().expect("a registry"),
                    repository: repository.parse().expect("a repository"),
                    digest,
                }
            ),
        ]
    }

    pub(crate) fn records() -> impl Strategy<Value = TaskRecord> {
        let flags = any::<(bool, bool)>();
        let about = (
            prop::option::of(digests()),
            prop::option::of(sources()),
            prop::option::of(any::<String>()),
        );
        (0u64..1 << 55, any::<(u64, u64, u32)>(), flags, about).prop_map(
            |(length, (held, last_used, pieces), flags, (digest, source, name))| {
                let layout = Layout::of(ByteCount(length)).expect("a layout");
                TaskRecord {
                    layout,
                    digest,
                    source,
                    visibility: if flags.0 {
                        Visibility::Private
                    } else {
                        Visibility::Public
                    },
                    name,
                    last_used,
                    complete: flags.1,
                    held: ByteCount(held % (length + 1)),
                    pieces: pieces % (layout.piece_count() + 1),
                    vouchers: (last_used % 10 < 9).then(|| {
                        (0..last_used % 10 % 9)
                            .map(|host| HostId::from_bytes([host as u8; 32]))
                            .collect()
                    }),
                }
            },
        )
    }

    proptest! {
        #[test]
        fn a_record_reads_as_it_was_written(record in records()) {
            prop_assert_eq!(TaskRecord::decode(&record.encode()), Ok(record));
        }

        #[test]
        fn a_record_of_version_1_reads_without_what_it_does_not_tell(record in records()) {
            let record = TaskRecord { vouchers: None, ..record };
            let mut bytes = record.encode();
            bytes[0] = 1;
            bytes.pop();
            prop_assert_eq!(TaskRecord::decode(&bytes), Ok(record));
        }

        #[test]
        fn a_truncated_or_longer_record_is_damaged(record in records(), at: prop::sample::Index) {
            let mut bytes = record.encode();
            prop_assert!(matches!(TaskRecord::decode(&bytes[..at.index(bytes.len())]), Err(RecordError::Damaged(_))));
            bytes.push(0);
            prop_assert!(matches!(TaskRecord::decode(&bytes), Err(RecordError::Damaged(_))));
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = TaskRecord::decode(&bytes);
            let _ = TaskRecord::decode(&[&[1], &bytes[..]].concat());
        }

        #[test]
        fn a_flipped_byte_never_panics(record in records(), at: prop::sample::Index, with: u8) {
            let mut bytes = record.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= with;
            if let Ok(read) = TaskRecord::decode(&bytes)
                && bytes[0] != 1
            {
                prop_assert_eq!(read.encode(), bytes);
            }
        }

        #[test]
        fn a_newer_version_is_refused(record in records(), found in 3u8..) {
            let mut bytes = record.encode();
            bytes[0] = found;
            prop_assert_eq!(TaskRecord::decode(&bytes), Err(RecordError::Newer { found, known: 2 }));
        }
    }
}
