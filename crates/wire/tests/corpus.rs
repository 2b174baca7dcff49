//! A short run of the fuzz target without a fuzzer: its corpus, cut off everywhere, and with each bit turned.

use std::{fs, path::Path};

#[path = "../../../fuzz/checks/wire_codec.rs"]
mod wire_codec;

#[test]
fn no_stream_near_the_corpus_breaks_the_codec() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/wire_codec");
    let mut seeds = 0;
    for entry in fs::read_dir(&folder).expect("the corpus") {
        let stream = fs::read(entry.expect("readable").path()).expect("readable");
        seeds += 1;
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
    assert!(seeds > 0, "{} is empty", folder.display());
}
