//! The phrases of a scenario: groups, zones, the pipes between them.

use std::time::Duration;

use types::{ByteCount, Layout};

use super::{
    Pipe, Readers, Zone,
    words::{NewRate, Portion, duration, new_rate, portion},
};
use crate::rate::ParseRateError;

/// More pieces than this would not fit into memory, for all hosts.
const PIECES_MAX: u32 = 1_000_000;

/// The content's layout from what is given of its size, number of pieces and their length; else the key that is wrong.
pub(super) fn layout(
    content: Option<ByteCount>,
    pieces: Option<u32>,
    piece: Option<ByteCount>,
) -> Result<Layout, (&'static str, String)> {
    let (key, layout) = match (content, pieces) {
        (_, Some(0)) => return Err(("pieces", "there is at least one piece".to_owned())),
        (Some(_), Some(_)) if piece.is_some() => {
            let told = "with content, give either pieces or piece_length";
            return Err(("pieces", told.to_owned()));
        }
        (Some(content), Some(pieces)) => {
            let piece = ByteCount(content.0.div_ceil(u64::from(pieces)));
            ("pieces", Layout::custom(content, piece))
        }
        (None, Some(pieces)) => {
            let piece = piece.unwrap_or(ByteCount::mib(4));
            let content = ByteCount(piece.0.saturating_mul(u64::from(pieces)));
            ("piece_length", Layout::custom(content, piece))
        }
        (content, None) => {
            let content = content.unwrap_or(ByteCount::gib(1));
            match piece {
                Some(piece) => ("piece_length", Layout::custom(content, piece)),
                None => ("content", Layout::of(content)),
            }
        }
    };
    let layout = layout.map_err(|error| (key, error.to_string()))?;
    if layout.piece_count() > PIECES_MAX {
        return Err((key, format!("there are at most {PIECES_MAX} pieces")));
    }
    Ok(layout)
}

/// How many of `hosts` a part is, if there are as many.
pub(super) fn count_of(some: Portion, hosts: u32) -> Result<u32, String> {
    match some {
        Portion::Count(count) if count > hosts => Err(format!("there are {hosts} hosts")),
        some => Ok(some.of(hosts)),
    }
}

pub(super) fn arrivals(text: &str) -> Result<Duration, &'static str> {
    const ALLOWED: &str = "hosts arrive \"at once\", or spread as in \"over 30s\"";
    match text.strip_prefix("over ") {
        Some(span) => duration(span).map_err(|_| ALLOWED),
        None if text == "at once" => Ok(Duration::ZERO),
        None => Err(ALLOWED),
    }
}

pub(super) fn readers(text: &str) -> Result<Readers, &'static str> {
    match text {
        "none" => Ok(Readers::None),
        "in order" => Ok(Readers::InOrder),
        _ => Err("readers are \"none\" or \"in order\""),
    }
}

pub(super) fn zone_named(zones: &[Zone], name: &str) -> Result<usize, String> {
    zones
        .iter()
        .position(|zone| zone.name == name)
        .ok_or_else(|| {
            let names: Vec<&str> = zones.iter().map(|zone| zone.name.as_str()).collect();
            format!("there is no zone {name:?}; zones are: {}", names.join(", "))
        })
}

/// `5% at 0.1x`, `50 at up 10Mbit down 100Mbit`: who, and the rates up and down.
pub(super) fn group(text: &str) -> Result<(Portion, NewRate, NewRate), String> {
    const ALLOWED: &str = "a group is \"5% at 0.1x\" or \"50 at up 10Mbit down 100Mbit\"";
    let words: Vec<&str> = text.split_whitespace().collect();
    let (some, up, down) = match words[..] {
        [some, "at", "up", up, "down", down] => (some, up, down),
        [some, "at", both] => (some, both, both),
        _ => return Err(ALLOWED.to_owned()),
    };
    Ok((portion(some)?, new_rate(up)?, new_rate(down)?))
}

/// `a 30%`, or `a` alone.
pub(super) fn zone(text: &str) -> Result<(String, Option<Portion>), String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        [name] => Ok((name.to_owned(), None)),
        [name, part] => Ok((name.to_owned(), Some(portion(part)?))),
        _ => Err(
            "a zone is a name and, if it is not an equal part, how many hosts: a 30%".to_owned(),
        ),
    }
}

/// `a to b at 10Gbit`, or `a and b at 10Gbit` for both directions.
pub(super) fn pipe(text: &str, zones: &[Zone]) -> Result<Vec<Pipe>, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [a, joint @ ("to" | "and"), b, "at", rate] = words[..] else {
        return Err(
            "a pipe is \"a to b at 10Gbit\" or, in both directions, \"a and b at 10Gbit\""
                .to_owned(),
        );
    };
    let (from, to) = (zone_named(zones, a)?, zone_named(zones, b)?);
    if from == to {
        return Err("a pipe joins two zones".to_owned());
    }
    let rate = rate
        .parse()
        .map_err(|error: ParseRateError| error.to_string())?;
    let mut pipes = vec![Pipe { from, to, rate }];
    if joint == "and" {
        pipes.push(Pipe {
            from: to,
            to: from,
            rate,
        });
    }
    Ok(pipes)
}

/// Gives each zone its hosts. Those without a part share the rest; what rounding leaves or lacks is the last one's.
pub(super) fn share_out(
    zones: Vec<(String, Option<Portion>)>,
    hosts: u32,
) -> Result<Vec<Zone>, String> {
    let count = u32::try_from(zones.len()).map_err(|_| "there are too many".to_owned())?;
    let mut open =
        u32::try_from(zones.iter().filter(|zone| zone.1.is_none()).count()).unwrap_or(count);
    let fixed: u64 = zones
        .iter()
        .filter_map(|zone| zone.1)
        .map(|part| u64::from(part.of(hosts)))
        .sum();
    // Each part that is a percentage may be rounded by one host.
    let rounded = zones
        .iter()
        .filter(|zone| matches!(zone.1, Some(Portion::Part(_))))
        .count() as u64;
    let (all, slack) = (u64::from(hosts), rounded);
    if fixed > all + slack || count > 0 && open == 0 && fixed + slack < all {
        return Err(format!("they have {fixed} of {hosts} hosts"));
    }
    let mut rest = u32::try_from(all.saturating_sub(fixed)).unwrap_or(hosts);
    let mut left = hosts;
    let mut shared = Vec::with_capacity(zones.len());
    for (place, (name, part)) in zones.into_iter().enumerate() {
        let is_last = place + 1 == count as usize;
        let hosts = match part {
            Some(part) => part.of(hosts).min(left),
            None => rest.div_ceil(open.max(1)).min(left),
        };
        if part.is_none() {
            rest = rest.saturating_sub(hosts);
            open -= 1;
        }
        let hosts = if is_last { left } else { hosts };
        left -= hosts;
        shared.push(Zone { name, hosts });
    }
    Ok(shared)
}
