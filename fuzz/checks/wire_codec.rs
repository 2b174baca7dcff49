//! What must hold of a remote's byte stream: reading it never panics, and whatever decodes is encoded to something that
//! decodes to the same. Shared by the fuzz target and by an ordinary test over the corpus.

use bytes::Bytes;
use wire::codec::{Decoder, PREFIX_LENGTH, Prefix, Received, encode};

pub(crate) fn check(stream: &[u8]) {
    let mut rest = stream;
    let (mut first, mut again) = (Decoder::new(8), Decoder::new(8));
    while let Some((prefix, after)) = rest.split_first_chunk::<PREFIX_LENGTH>() {
        let Ok(prefix) = Prefix::parse(*prefix) else {
            return;
        };
        let Some((payload, after)) = after.split_at_checked(prefix.payload_length) else {
            return;
        };
        rest = after;
        let Some(kind) = prefix.kind else { continue };
        let Ok(received) = first.decode(kind, Bytes::copy_from_slice(payload)) else {
            return;
        };
        let payload = match &received {
            Received::Message { message, .. } => encode(message).slice(PREFIX_LENGTH..),
            Received::Data { .. } => Bytes::copy_from_slice(payload),
        };
        assert_eq!(again.decode(kind, payload).as_ref(), Ok(&received));
    }
}
