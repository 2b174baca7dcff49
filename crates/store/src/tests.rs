//! Tests of the whole store, by what they are about.

mod crash;
mod life;
mod limits;
mod names;

use types::{ByteCount, Digest, Layout, PieceDigest, PieceIndex, TaskId, Visibility};

use crate::{BootId, Content, NewContent, Recovery, Reserve, Store, StoreConfig};

const PIECE: u64 = 4096;

fn boot(number: u8) -> Option<BootId> {
    Some(BootId::from_bytes([number; 16]))
}

fn task(number: u8) -> TaskId {
    TaskId::from_bytes([number; 32])
}

/// A store whose marks are committed only when the test says so.
fn config(dir: &tempfile::TempDir) -> StoreConfig {
    StoreConfig {
        quota: None,
        free_floor: ByteCount::ZERO,
        boot: boot(1),
        commit_every: None,
        ..StoreConfig::new(dir.path().join("data"))
    }
}

fn open(dir: &tempfile::TempDir) -> Store {
    reopen(config(dir)).0
}

fn reopen(config: StoreConfig) -> (Store, Recovery) {
    Store::open(config).expect("a store")
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

/// Four pieces and a bit.
fn layout() -> Layout {
    Layout::custom(ByteCount(4 * PIECE + 100), ByteCount(PIECE)).expect("a layout")
}

fn new(number: u8) -> NewContent {
    NewContent {
        task: task(number),
        layout: layout(),
        digest: None,
        source: None,
        visibility: Visibility::Private,
        name: None,
        reserve: Reserve::Whole,
    }
}

/// What `piece` of content `number` consists of.
fn bytes(number: u8, layout: &Layout, piece: PieceIndex) -> Vec<u8> {
    let range = layout.range_of(piece);
    (range.start()..range.end())
        .map(|at| (at % 241) as u8 ^ number ^ (at >> 12) as u8)
        .collect()
}

fn digest(number: u8, piece: u32) -> PieceDigest {
    let piece = PieceIndex(piece);
    PieceDigest::of(&layout(), piece, &bytes(number, &layout(), piece))
}

fn put(content: &Content, number: u8, piece: u32) {
    let piece = PieceIndex(piece);
    let mut writer = content.writer(piece).expect("a writer");
    for part in bytes(number, &content.layout(), piece).chunks(1000) {
        writer.write(part).expect("written");
    }
    writer.finish(None).expect("marked");
}

fn put_all(content: &Content, number: u8) {
    let have = content.have();
    have.missing()
        .for_each(|piece| put(content, number, piece.0));
}

fn read(content: &Content, piece: u32) -> Result<Vec<u8>, crate::ReadError> {
    let range = content.layout().range_of(PieceIndex(piece));
    let mut bytes = vec![0; range.length().0 as usize];
    content.read_at(range.start(), &mut bytes).map(|()| bytes)
}

fn holds(content: &Content) -> Vec<u32> {
    content.have().iter().map(|piece| piece.0).collect()
}

fn handle(store: &Store, number: u8) -> Content {
    store
        .content(task(number))
        .expect("readable")
        .expect("there")
}

fn sha(number: u8) -> Digest {
    Digest::sha256([number; 32])
}

fn file_of(dir: &tempfile::TempDir, number: u8) -> std::path::PathBuf {
    dir.path().join(format!("data/content/{}", task(number)))
}

/// Flips one bit of `piece` in the file, as a disk might.
fn flip(dir: &tempfile::TempDir, number: u8, piece: u32) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(file_of(dir, number))
        .expect("the file");
    let at = u64::from(piece) * PIECE + 7;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 4], at).expect("written");
}
