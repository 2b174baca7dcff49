//! A short run of the fuzz target without a fuzzer: its corpus, cut off everywhere, with each bit turned, and mixed.

use std::{fs, path::Path};

use proptest::{collection::vec, prelude::*, sample::Index};

#[path = "../../../fuzz/checks/wire_codec.rs"]
mod wire_codec;

/// Streams that a fuzzer starts from.
fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/wire_codec");
    let entries = fs::read_dir(&folder).expect("the corpus");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    (files.iter().map(|file| fs::read(file).expect("readable"))).collect()
}

#[test]
fn no_stream_near_the_corpus_breaks_the_codec() {
    for stream in corpus() {
        wire_codec::check(&stream);
        for end in 0..stream.len() {
            wire_codec::check(&stream[..end]);
        }
        // Beyond it lie bytes of content, where one is as good as the other.
        for at in 0..stream.len().min(1024) {
            for bit in 0..8 {
                let mut turned = stream.clone();
                turned[at] ^= 1 << bit;
                wire_codec::check(&turned);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Frames of several streams after each other, so that a decoder has a past, with some bytes changed.
    #[test]
    fn no_mixture_of_the_corpus_breaks_the_codec(
        order in vec(any::<Index>(), 1..5),
        edits in vec((any::<Index>(), any::<u8>()), 0..8),
    ) {
        let streams = corpus();
        let mut mixed: Vec<u8> = order.iter().flat_map(|at| at.get(&streams).clone()).collect();
        for (at, byte) in edits {
            // Most often near the start, where the frames are; the rest is mostly content.
            let length = mixed.len().min(2048);
            mixed[at.index(length)] = byte;
        }
        wire_codec::check(&mixed);
    }
}
