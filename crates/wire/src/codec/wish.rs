//! What a host asks a seed to import while no scheduler is there to ask for it.

use bytes::{BufMut, BytesMut};
use types::{ByteCount, Digest, Layout, Source, TaskId};

use super::{Violation, cursor::Cursor};

/// Bytes of each text.
pub(super) const TEXT_MAX: usize = 8 << 10;

/// Public content that somebody wants and no scheduler can name an importer of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Its task.
    pub task: TaskId,
    /// How it is cut; a [`Layout::of`] its length.
    pub layout: Layout,
    /// Its digest, if known.
    pub digest: Option<Digest>,
    /// Where it can be read, without secrets.
    pub source: Source,
}

impl Wish {
    /// The wish, unless its source is too long to travel.
    pub fn of(
        task: TaskId,
        layout: Layout,
        (digest, source): (Option<Digest>, Source),
    ) -> Option<Self> {
        (source.canonical().len() <= TEXT_MAX).then_some(Self {
            task,
            layout,
            digest,
            source,
        })
    }

    pub(super) fn put(&self, to: &mut BytesMut) {
        to.put_slice(self.task.as_bytes());
        to.put_u64_le(self.layout.length().0);
        put_text(
            to,
            &self
                .digest
                .map_or_else(String::new, |digest| digest.to_string()),
        );
        match &self.source {
            Source::Url(url) => {
                to.put_u8(0);
                put_text(to, url);
            }
            Source::Blob {
                registry,
                repository,
                digest,
            } => {
                to.put_u8(1);
                put_text(to, &registry.to_string());
                put_text(to, &repository.to_string());
                put_text(to, &digest.to_string());
            }
        }
    }

    pub(super) fn read(from: &mut Cursor) -> Result<Self, Violation> {
        let task = TaskId::from_bytes(from.array()?);
        let layout = Layout::of(ByteCount(from.u64()?)).map_err(|_| Violation::Field("wish"))?;
        let digest = match text(from)?.as_str() {
            "" => None,
            digest => Some(digest.parse().map_err(|_| Violation::Field("wish"))?),
        };
        let source = match from.u8()? {
            0 => Source::Url(url(text(from)?)?),
            1 => Source::Blob {
                registry: text(from)?.parse().map_err(|_| Violation::Field("wish"))?,
                repository: text(from)?.parse().map_err(|_| Violation::Field("wish"))?,
                digest: text(from)?.parse().map_err(|_| Violation::Field("wish"))?,
            },
            _ => return Err(Violation::Field("wish")),
        };
        Ok(Self {
            task,
            layout,
            digest,
            source,
        })
    }
}

fn put_text(to: &mut BytesMut, text: &str) {
    let length = u16::try_from(text.len()).expect("checked when the wish was made");
    to.put_u16_le(length);
    to.put_slice(text.as_bytes());
}

fn text(from: &mut Cursor) -> Result<String, Violation> {
    let length = usize::from(from.u16()?);
    if length > TEXT_MAX {
        return Err(Violation::Field("wish"));
    }
    String::from_utf8(from.take(length)?.to_vec()).map_err(|_| Violation::Field("wish"))
}

/// A URL that may be asked for: printable, and without a user, who could be a secret.
fn url(text: String) -> Result<String, Violation> {
    let host = text
        .split_once("://")
        .and_then(|(_, rest)| rest.split(['/', '?']).next());
    let is_plain = text.bytes().all(|c| c.is_ascii_graphic());
    match host {
        Some(host) if is_plain && !host.contains('@') => Ok(text),
        _ => Err(Violation::Field("wish")),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::codec::Kind;

    fn wish(source: Source) -> Wish {
        Wish {
            task: TaskId::from_bytes([7; 32]),
            layout: Layout::of(ByteCount(12_345_678)).expect("a sound length"),
            digest: Some(Digest::sha256([3; 32])),
            source,
        }
    }

    fn read(bytes: Bytes) -> Result<Wish, Violation> {
        let mut from = Cursor::new(Kind::Wish, bytes);
        let wish = Wish::read(&mut from)?;
        from.finish().map(|()| wish)
    }

    fn written(wish: &Wish) -> Bytes {
        let mut to = BytesMut::new();
        wish.put(&mut to);
        to.freeze()
    }

    #[test]
    fn a_wish_reads_back() {
        let blob = Source::Blob {
            registry: "registry.example.com:5000".parse().expect("a registry"),
            repository: "team/app".parse().expect("a repository"),
            digest: Digest::sha256([5; 32]),
        };
        for source in [Source::Url("https://host/file?v=1".into()), blob] {
            let wish = wish(source);
            assert_eq!(read(written(&wish)), Ok(wish));
        }
    }

    #[test]
    fn hostile_wishes_are_refused() {
        for url in [
            "",
            "no url",
            "https://user:secret@host/file",
            "https://host/\n",
        ] {
            let bytes = written(&wish(Source::Url(url.into())));
            assert_eq!(read(bytes), Err(Violation::Field("wish")), "{url}");
        }
        let whole = written(&wish(Source::Url("https://host/file".into())));
        for length in 0..whole.len() {
            assert!(read(whole.slice(..length)).is_err(), "{length}");
        }
        let long = Source::Url(format!("https://host/{}", "a".repeat(TEXT_MAX)));
        assert!(read(written(&wish(long.clone()))).is_err());
        let layout = wish(long.clone()).layout;
        assert_eq!(
            Wish::of(TaskId::from_bytes([7; 32]), layout, (None, long)),
            None
        );
    }
}
