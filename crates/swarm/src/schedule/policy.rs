//! Every number the scheduler decides by, in one place, each with its reason.

use std::time::Duration;

/// The scheduler's policy. `Policy::default()` is what a cluster runs that sets nothing.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Neighbours per member. In the fluid model (1,000 hosts, 256 pieces) 30 reaches 1.08 times the optimum; fewer
    /// leave a host without a useful neighbour near the end, more cost announcements. Even, as an inserted member
    /// takes both ends of each edge it splits.
    pub degree: u16,
    /// Candidates looked at for each edge that is drawn. Few keep the graph random, which is what makes it fast; four
    /// already keep most edges near when a quarter of the hosts is.
    pub samples: u8,
    /// What an edge costs by nearness: same rack, zone, region, and beyond. Only the order and rough ratio matter.
    pub distance_cost: [u32; 4],
    /// What is saved when two hosts already have a connection: about a zone border, as a new TLS connection costs a
    /// few round trips.
    pub connected_bonus: u32,
    /// Seated complete holders per waiting member before some are unseated, beyond `sources_seated_min`.
    pub sources_per_waiting: u32,
    /// Seated complete holders that are never too many. 256 is the connections one host keeps.
    pub sources_seated_min: u32,
    /// Neighbour changes of hosts that are not waiting for them are sent this much later, in one message. A burst of
    /// joins then costs a few messages per host; 20 ms is below what a person or a piece notices.
    pub flush_after: Duration,

    /// How long a lease lasts without renewal. Short, since a lost importer is replaced only when it has ended; long
    /// enough to outlive a scheduler's restart of a second and several lost renewals.
    pub lease_valid_for: Duration,
    /// What the scheduler adds to, and the holder takes from, a lease: far above the drift of two clocks over a lease
    /// (500 ppm of some seconds is milliseconds).
    pub lease_margin: Duration,
    /// A task that makes no progress for this long is looked at, at the earliest: some report intervals.
    pub stall_min: Duration,
    /// And at the latest, whatever the rhythm was before.
    pub stall_max: Duration,
    /// Between the two the bound is this many times the usual gap between reports of progress.
    pub stall_factor: u32,
    /// First wait before a host that failed for a passing reason is named again, if nobody else can import. Doubles.
    pub retry_min: Duration,
    /// The longest such wait.
    pub retry_max: Duration,
    /// Hosts with the same rights that must call a failure permanent before everybody is told; fewer if there are
    /// fewer. Two, so that one lying host cannot fail a task for a cluster.
    pub failure_voices: usize,
    /// How long a recruited seed may take to ask for the task before another host imports it: a round trip and a look at
    /// its own policy. Zero recruits nobody.
    pub recruit_wait: Duration,
    /// How long members wait for somebody who can import before they are told that nobody can.
    pub orphan_wait: Duration,

    /// Hosts at once. Beyond, joins are refused.
    pub hosts_max: usize,
    /// Tasks one host may wait for at once.
    pub running_max: usize,
    /// Complete tasks one host may hold: some 300 bytes each here if nobody else holds them.
    pub holdings_max: usize,
    /// Asks per second of one host in the long run.
    pub asks_per_second: u32,
    /// Asks a host may send at once: a large image job after a quiet time.
    pub asks_burst: u32,

    /// Reporters who must be unrelated before a host is lowered.
    pub blame_voices: usize,
    /// How long a report counts, and how long a host stays lowered.
    pub blame_decay: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            degree: 30,
            samples: 4,
            distance_cost: [0, 1, 4, 8],
            connected_bonus: 2,
            sources_per_waiting: 2,
            sources_seated_min: 256,
            flush_after: Duration::from_millis(20),
            lease_valid_for: Duration::from_secs(3),
            lease_margin: Duration::from_millis(200),
            stall_min: Duration::from_secs(3),
            stall_max: Duration::from_secs(30),
            stall_factor: 4,
            retry_min: Duration::from_millis(500),
            retry_max: Duration::from_secs(30),
            failure_voices: 2,
            recruit_wait: Duration::from_millis(150),
            orphan_wait: Duration::from_secs(1),
            hosts_max: 50_000,
            running_max: 1024,
            holdings_max: 16_384,
            asks_per_second: 100,
            asks_burst: 1024,
            blame_voices: 3,
            blame_decay: Duration::from_secs(600),
        }
    }
}
