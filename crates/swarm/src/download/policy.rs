//! Every constant of a download in one place, each with its reason.

use std::time::Duration;

use types::ByteCount;

/// How a download behaves. The defaults are what the simulator found best; see `docs/BENCHMARKS.md`.
#[derive(Clone, Copy, Debug)]
pub struct DownloadPolicy {
    /// Requests that run at once. Two keep the link full across the gap between two transfers and still deliver each
    /// piece soon.
    pub slots: u8,
    /// Requests beyond the slots, sent one round trip before a running one ends, so that the next follows without a gap.
    /// One for each slot, as both may be about to end (measured with 17 hosts and a delay of half a piece time: one cost
    /// the slowest 0.10 of the content's time).
    pub ahead: u8,
    /// Requests beyond those for pieces that an importer revealed to this peer: they don't wait for a slot, since the
    /// whole swarm waits for them.
    pub reveals: u8,
    /// Bytes of adjacent pieces in one request.
    pub run_bytes_max: ByteCount,
    /// Time that one request should take at least: pieces that pass more quickly are asked for in runs, so that a round
    /// trip costs a small part of a request.
    pub run_time: Duration,
    /// Pieces from a reader's position on that are fetched before rarer ones, by one request at a time.
    pub window: u32,
    /// Pieces that an importer may hold that nobody else has, before it waits: what its death costs the origin.
    pub read_ahead_pieces: u32,
    /// The same in bytes.
    pub read_ahead_bytes: ByteCount,
    /// Runs read from the origin at once, as a rule in one stream: two, so that one runs while the other's last piece is
    /// verified; with more, each piece comes later than it could (measured with four: the swarm begins 0.3 piece times
    /// later).
    pub import_streams: u8,
    /// What one request to the origin covers at most, so that the runs of an import follow each other in one stream
    /// instead of costing a round trip each. What is covered is not yet read: the stream waits for the next run.
    pub import_reach: ByteCount,
    /// How long the head of a blocked reader waits, at most, without any news of the swarm before this host reads
    /// from the origin without a lease; a random part of as much again is added.
    pub head_wait_max: Duration,
    /// How long the scheduler's word that the import goes on counts, without any piece, for a piece that no neighbour
    /// has: within this time the scheduler itself looks at an import that stands still.
    pub import_wait_max: Duration,
    /// Bytes a second on the slowest link that is waited for before any piece came.
    pub slowest: ByteCount,
    /// How long a download lives without a verified piece or an acknowledgement.
    pub hard_limit: Duration,
    /// Shortest and longest time without a byte after which a request is given up; between them it adapts.
    pub patience_min: Duration,
    /// See `patience_min`.
    pub patience_max: Duration,
    /// How long a parent that sent a wrong piece is avoided the first time; doubles with each.
    pub avoid_liar: Duration,
}

impl Default for DownloadPolicy {
    fn default() -> Self {
        Self {
            slots: 2,
            ahead: 2,
            reveals: 2,
            run_bytes_max: ByteCount::mib(1),
            run_time: Duration::from_millis(250),
            window: 8,
            read_ahead_pieces: 8,
            read_ahead_bytes: ByteCount::mib(32),
            import_streams: 2,
            import_reach: ByteCount::mib(64),
            head_wait_max: Duration::from_secs(1),
            import_wait_max: Duration::from_secs(30),
            slowest: ByteCount::mib(1),
            hard_limit: Duration::from_secs(300),
            patience_min: Duration::from_millis(250),
            patience_max: Duration::from_secs(5),
            avoid_liar: Duration::from_secs(30),
        }
    }
}
