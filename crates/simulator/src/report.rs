//! What a run came to: a value for machines (JSON with fixed field names) and a table for people.
//!
//! Times count from a host's own arrival and are given three ways: in seconds, in units (the content's bytes over a
//! typical host's rate, the ideal of a single download) and in bounds (the physical limit with its fill, see
//! [`crate::bound`]). The promise is that the slowest host needs at most 1/0.9 bounds.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Serialize;
use types::{ByteCount, Moment};

use crate::{
    bound::{BindingTerm, Bound},
    rate::Rate,
};

/// How one host's part ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostEnd {
    /// All bytes were there.
    Complete(Moment),
    /// A fault killed it for good: it does not count.
    Killed,
    /// The run ended first.
    Unfinished,
}

/// One receiving host of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostResult {
    /// When it asked for the content.
    pub arrived: Moment,
    /// How that ended.
    pub end: HostEnd,
}

/// What a run counted.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed that tells the same story again.
    pub seed: u64,
    /// The content's size.
    pub content: ByteCount,
    /// A typical host's way down.
    pub rate: Rate,
    /// The physical limit of this distribution.
    pub bound: Bound,
    /// The receiving hosts; seeds that only import are not among them.
    pub hosts: Vec<HostResult>,
    /// Body bytes the origin sent.
    pub origin_bytes: ByteCount,
    /// Requests the origin answered.
    pub origin_requests: u64,
    /// Bytes between zones, by sender's and receiver's.
    pub zone_bytes: BTreeMap<(String, String), ByteCount>,
    /// Messages between hosts, and between hosts and the scheduler.
    pub messages: u64,
    /// How many each fault of the scenario befell: hosts, or the origin or the scheduler as one.
    pub befallen: Vec<usize>,
    /// Pieces that came and did not match.
    pub corrupt_pieces: u64,
    /// Hosts whose pieces were found wrong.
    pub liars: usize,
    /// Hosts that were ever granted the lease.
    pub importers: usize,
}

/// A run in numbers. The serialized field names are stable: new ones may come, none changes its meaning.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The seed of the run.
    pub seed: u64,
    /// Receiving hosts.
    pub hosts: usize,
    /// Of these, those that got everything.
    pub complete: usize,
    /// Of these, those that a fault killed.
    pub killed: usize,
    /// Of these, those that the run's end cut off.
    pub unfinished: usize,
    /// The content's size.
    pub content_bytes: u64,
    /// Seconds of one unit: the content over a typical host's rate.
    pub unit_seconds: f64,
    /// The physical limit.
    pub bound: BoundReport,
    /// The median host; none if fewer than half of the living ones got everything. So on below.
    pub p50: Option<Span>,
    /// The 99th of a hundred hosts.
    pub p99: Option<Span>,
    /// The last host.
    pub slowest: Option<Span>,
    /// The bound over the slowest host's time: 1 is perfect, 0.9 is promised.
    pub efficiency: Option<f64>,
    /// What the origin did.
    pub origin: OriginReport,
    /// Bytes between zones, sorted by name.
    pub zones: Vec<ZoneReport>,
    /// Messages of all hosts and the scheduler.
    pub messages: u64,
    /// Messages per receiving host.
    pub messages_per_host: f64,
    /// How many each fault befell, in the scenario's order: zero says that the run withstood nothing.
    pub befallen: Vec<usize>,
    /// Pieces that came and did not match.
    pub corrupt_pieces: u64,
    /// Hosts whose pieces were found wrong.
    pub liars: usize,
    /// Hosts that were ever granted the lease.
    pub importers: usize,
}

/// The physical limit in a [`Report`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BoundReport {
    /// The fluid part.
    pub seconds: f64,
    /// What it comes from.
    pub binding: BindingTerm,
    /// The fill.
    pub fill_seconds: f64,
    /// Both: the unit of `bounds` elsewhere.
    pub with_fill_seconds: f64,
}

/// A time from a host's arrival, three ways.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Span {
    /// In seconds.
    pub seconds: f64,
    /// In units of the content over a typical host's rate.
    pub units: f64,
    /// In bounds, fill included.
    pub bounds: f64,
}

/// What the origin did, in a [`Report`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OriginReport {
    /// Body bytes sent.
    pub bytes: u64,
    /// The same, in contents: 1 is promised.
    pub copies: f64,
    /// Requests answered.
    pub requests: u64,
}

/// Bytes from one zone to another, in a [`Report`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ZoneReport {
    /// The senders' zone.
    pub from: String,
    /// The receivers' zone.
    pub to: String,
    /// Bytes.
    pub bytes: u64,
    /// The same, in contents.
    pub copies: f64,
}

impl Report {
    /// The numbers of a run.
    pub fn of(outcome: &Outcome) -> Self {
        let killed = count(outcome, |end| end == HostEnd::Killed);
        let unfinished = count(outcome, |end| end == HostEnd::Unfinished);
        let times = times(outcome);
        let unit = ratio(outcome.content.0, outcome.rate.0);
        let with_fill = outcome.bound.with_fill().as_secs_f64();
        let living = outcome.hosts.len() - killed;
        let span = |percent: usize| {
            let rank = (living * percent).div_ceil(100).max(1);
            let seconds = times.get(rank - 1)?.as_secs_f64();
            Some(Span {
                seconds,
                units: over(seconds, unit),
                bounds: over(seconds, with_fill),
            })
        };
        let slowest = span(100);
        Self {
            seed: outcome.seed,
            hosts: outcome.hosts.len(),
            complete: times.len(),
            killed,
            unfinished,
            content_bytes: outcome.content.0,
            unit_seconds: unit,
            bound: BoundReport {
                seconds: outcome.bound.fluid.as_secs_f64(),
                binding: outcome.bound.binding,
                fill_seconds: outcome.bound.fill.as_secs_f64(),
                with_fill_seconds: with_fill,
            },
            p50: span(50),
            p99: span(99),
            slowest,
            efficiency: slowest.map(|slowest| over(with_fill, slowest.seconds)),
            origin: OriginReport {
                bytes: outcome.origin_bytes.0,
                copies: ratio(outcome.origin_bytes.0, outcome.content.0),
                requests: outcome.origin_requests,
            },
            zones: zones(outcome),
            messages: outcome.messages,
            messages_per_host: ratio(outcome.messages, outcome.hosts.len() as u64),
            befallen: outcome.befallen.clone(),
            corrupt_pieces: outcome.corrupt_pieces,
            liars: outcome.liars,
            importers: outcome.importers,
        }
    }

    /// The report as indented JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report has no map and no failing field")
    }
}

fn count(outcome: &Outcome, is: impl Fn(HostEnd) -> bool) -> usize {
    outcome.hosts.iter().filter(|host| is(host.end)).count()
}

/// Times from arrival to completion, shortest first.
fn times(outcome: &Outcome) -> Vec<Duration> {
    let mut times: Vec<Duration> = (outcome.hosts.iter())
        .filter_map(|host| match host.end {
            HostEnd::Complete(at) => Some(at.since(host.arrived)),
            HostEnd::Killed | HostEnd::Unfinished => None,
        })
        .collect();
    times.sort_unstable();
    times
}

fn zones(outcome: &Outcome) -> Vec<ZoneReport> {
    (outcome.zone_bytes.iter())
        .map(|((from, to), bytes)| ZoneReport {
            from: from.clone(),
            to: to.clone(),
            bytes: bytes.0,
            copies: ratio(bytes.0, outcome.content.0),
        })
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "a few digits are shown")]
fn ratio(part: u64, whole: u64) -> f64 {
    over(part as f64, whole as f64)
}

/// A quotient that JSON can hold: zero where nothing is divided by nothing.
fn over(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

impl fmt::Display for Report {
    /// A table for people, without a line end at its end.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = ByteCount(self.content_bytes);
        write!(to, "{} hosts, {size}, seed {}: ", self.hosts, self.seed)?;
        write!(to, "{} complete", self.complete)?;
        for (number, what) in [(self.killed, "killed"), (self.unfinished, "unfinished")] {
            if number > 0 {
                write!(to, ", {number} {what}")?;
            }
        }
        writeln!(
            to,
            "\n\n{:<14}{:>12}{:>10}{:>10}",
            "", "time", "x F/u", "x bound"
        )?;
        let bound = Span {
            seconds: self.bound.with_fill_seconds,
            units: over(self.bound.with_fill_seconds, self.unit_seconds),
            bounds: 1.0,
        };
        let rows = [
            ("bound + fill", Some(bound)),
            ("p50", self.p50),
            ("p99", self.p99),
            ("slowest host", self.slowest),
        ];
        for (name, span) in rows {
            match span {
                Some(Span {
                    seconds,
                    units,
                    bounds,
                }) => {
                    let time = shown(seconds);
                    writeln!(to, "{name:<14}{time:>12}{units:>10.3}{bounds:>10.3}")?;
                }
                None => writeln!(to, "{name:<14}{:>12}{:>10}{:>10}", "never", "-", "-")?,
            }
        }
        self.write_notes(to)
    }
}

impl Report {
    fn write_notes(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BoundReport {
            seconds,
            binding,
            fill_seconds,
            ..
        } = self.bound;
        let (fluid, fill) = (shown(seconds), shown(fill_seconds));
        writeln!(to, "\nbound     {fluid} by {binding}, {fill} of fill")?;
        if let Some(efficiency) = self.efficiency {
            writeln!(to, "reached   {:.1} % of the bound", efficiency * 100.0)?;
        }
        let OriginReport {
            bytes,
            copies,
            requests,
        } = self.origin;
        let bytes = ByteCount(bytes);
        writeln!(
            to,
            "origin    {bytes} ({copies:.3} copies) in {requests} requests"
        )?;
        for zone in &self.zones {
            let ZoneReport {
                from,
                to: into,
                bytes,
                copies,
            } = zone;
            let bytes = ByteCount(*bytes);
            writeln!(to, "{from} to {into}    {bytes} ({copies:.3} copies)")?;
        }
        write!(
            to,
            "messages  {} ({:.1} per host)",
            self.messages, self.messages_per_host
        )?;
        for (number, befallen) in (1..).zip(&self.befallen) {
            match befallen {
                0 => write!(to, "\nfault {number}   befell nobody")?,
                count => write!(to, "\nfault {number}   befell {count}")?,
            }
        }
        Ok(())
    }
}

/// Seconds with three or four digits: `850 ms`, `12.34 s`, `123.4 s`.
pub(crate) fn shown(seconds: f64) -> String {
    match seconds {
        s if s < 0.9995 => format!("{:.0} ms", s * 1000.0),
        s if s < 99.995 => format!("{s:.2} s"),
        s if s < 1e9 => format!("{s:.1} s"),
        _ => "never".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(ends: &[HostEnd]) -> Outcome {
        Outcome {
            seed: 7,
            content: ByteCount(1_000_000_000),
            rate: Rate(100_000_000),
            bound: Bound {
                fluid: Duration::from_secs(10),
                binding: BindingTerm::SlowestDownload,
                fill: Duration::from_millis(500),
            },
            hosts: ends
                .iter()
                .map(|&end| HostResult {
                    arrived: Moment(2_000_000_000),
                    end,
                })
                .collect(),
            origin_bytes: ByteCount(1_010_000_000),
            origin_requests: 64,
            zone_bytes: BTreeMap::from([(("a".into(), "b".into()), ByteCount(1_000_000_000))]),
            messages: 400,
            befallen: Vec::new(),
            corrupt_pieces: 0,
            liars: 0,
            importers: 1,
        }
    }

    fn complete(seconds: u64) -> HostEnd {
        HostEnd::Complete(Moment(seconds * 1_000_000_000))
    }

    #[test]
    fn percentiles_count_from_arrival_and_leave_out_the_killed() {
        let mut ends: Vec<HostEnd> = (1..=200).map(|n| complete(10 + n)).collect();
        ends.push(HostEnd::Killed);
        let report = Report::of(&outcome(&ends));
        let seconds = [report.p50, report.p99, report.slowest].map(|s| s.map(|s| s.seconds));
        assert_eq!(seconds, [Some(108.0), Some(206.0), Some(208.0)]);
        assert_eq!(report.p50.map(|s| s.units), Some(10.8));
        assert_eq!((report.complete, report.killed), (200, 1));
    }

    #[test]
    fn a_host_that_never_ended_is_the_slowest() {
        let report = Report::of(&outcome(&[complete(13), complete(14), HostEnd::Unfinished]));
        assert_eq!(report.p50.map(|s| s.seconds), Some(12.0));
        assert_eq!(
            (report.p99, report.slowest, report.efficiency),
            (None, None, None)
        );
        assert!(report.to_string().contains("slowest host         never"));
    }

    #[test]
    fn a_run_without_hosts_is_reported_too() {
        let report = Report::of(&outcome(&[]));
        assert_eq!((report.hosts, report.p50), (0, None));
        assert!(report.to_json().contains("\"messages_per_host\": 0.0"));
    }

    #[test]
    fn the_json_names_do_not_change() {
        let report = Report::of(&outcome(&[complete(13), complete(14)]));
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("JSON");
        let mut names: Vec<&String> = json.as_object().expect("an object").keys().collect();
        names.sort_unstable();
        let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
        assert_eq!(
            names.join(" "),
            "befallen bound complete content_bytes corrupt_pieces efficiency hosts importers killed liars messages \
             messages_per_host origin p50 p99 seed slowest unfinished unit_seconds zones"
        );
        assert_eq!(json["bound"]["binding"], "slowest_download");
        assert_eq!(json["slowest"]["bounds"], 12.0 / 10.5);
        assert_eq!(json["origin"]["copies"], 1.01);
        assert_eq!(json["zones"][0]["from"], "a");
    }

    #[test]
    fn the_table_is_one_that_people_can_read() {
        let report = Report::of(&outcome(&[complete(13), complete(14)]));
        let expected = "\
2 hosts, 954 MiB, seed 7: 2 complete

                      time     x F/u   x bound
bound + fill       10.50 s     1.050     1.000
p50                11.00 s     1.100     1.048
p99                12.00 s     1.200     1.143
slowest host       12.00 s     1.200     1.143

bound     10.00 s by the slowest host's download rate, 500 ms of fill
reached   87.5 % of the bound
origin    963 MiB (1.010 copies) in 64 requests
a to b    954 MiB (1.000 copies)
messages  400 (200.0 per host)";
        assert_eq!(report.to_string(), expected);
    }
}
