//! From a raw scenario to one that can be run, or to everything that is wrong with it.

use std::{fmt, time::Duration};

use types::{ByteCount, Layout};

use super::{
    Fault, Group, KeyFault, Pipe, RawScenario, Readers, Scenario, ScenarioError, Trouble, When,
    Who, Zone, forms,
    words::{delay, duration},
};
use crate::rate::{ParseRateError, Rate};

const ZERO_RATE: &str = "a rate of zero would never end: use a fault to stop a link";

impl RawScenario {
    /// The scenario, or everything that is wrong with it.
    pub fn check(&self) -> Result<Scenario, ScenarioError> {
        let mut check = Check { faults: Vec::new() };
        let hosts = check.within("hosts", self.hosts.unwrap_or(1000), (1, 100_000));
        let seeds = check.within("seeds", self.seeds.unwrap_or(1), (0, 1000));
        let base = check.rate("rate", self.rate.as_ref(), Rate::mbit(1000));
        let up = check.rate("up", self.up.as_ref(), base);
        let down = check.rate("down", self.down.as_ref(), base);
        let layout = check.layout(self);
        let origin_rate = check.rate("origin_rate", self.origin_rate.as_ref(), Rate::mbit(10_000));
        let piece_bytes = layout.piece_length().0.min(layout.length().0);
        let piece =
            Duration::from_secs_f64(Rate(piece_bytes).per_second() / up.per_second().max(1.0));
        let delay = check
            .text("delay", self.delay.as_ref(), |text| delay(text, piece))
            .unwrap_or(Duration::from_millis(1));
        let arrivals = check
            .text("arrivals", self.arrivals.as_ref(), forms::arrivals)
            .unwrap_or(Duration::ZERO);
        let readers = check
            .text("readers", self.readers.as_ref(), forms::readers)
            .unwrap_or(Readers::None);
        let groups = check.groups(&self.groups, (up, down), hosts);
        let zones = check.zones(&self.zones, hosts);
        let pipes = check.pipes(&self.pipes, &zones);
        let origin_zone = check.text("origin_zone", self.origin_zone.as_ref(), |name| {
            forms::zone_named(&zones, name)
        });
        let time_limit = check
            .text("time_limit", self.time_limit.as_ref(), duration)
            .unwrap_or(Duration::from_secs(3600));
        let faults = check.troubles(&self.faults, (hosts, seeds), time_limit);
        let seed = self.seed.unwrap_or(1);
        if !check.faults.is_empty() {
            return Err(ScenarioError {
                faults: check.faults,
            });
        }
        Ok(Scenario {
            hosts,
            seeds,
            up,
            down,
            layout,
            origin_rate,
            origin_zone,
            delay,
            arrivals,
            groups,
            zones,
            pipes,
            readers,
            faults,
            seed,
            time_limit,
        })
    }
}

/// Collects what is wrong; goes on with a default, so that one fault hides no other.
struct Check {
    faults: Vec<KeyFault>,
}

impl Check {
    fn fault(&mut self, key: impl Into<String>, value: impl fmt::Display, told: impl fmt::Display) {
        self.faults.push(KeyFault {
            key: key.into(),
            value: value.to_string(),
            told: told.to_string(),
        });
    }

    fn within(&mut self, key: &str, value: u32, (least, most): (u32, u32)) -> u32 {
        if !(least..=most).contains(&value) {
            self.fault(key, value, format_args!("it is {least} to {most}"));
        }
        value.clamp(least, most)
    }

    /// What `text` says; nothing if there is none, or it is wrong.
    fn text<T, E: fmt::Display>(
        &mut self,
        key: &str,
        text: Option<&String>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = text?;
        parse(text.trim())
            .map_err(|told| self.fault(key, text, told))
            .ok()
    }

    /// A base rate: zero is for faults only, since nothing would ever end.
    fn rate(&mut self, key: &str, text: Option<&String>, default: Rate) -> Rate {
        self.text(key, text, |text| match text.parse() {
            Ok(Rate(0)) => Err(ZERO_RATE.to_owned()),
            other => other.map_err(|error: ParseRateError| error.to_string()),
        })
        .unwrap_or(default)
    }

    fn layout(&mut self, raw: &RawScenario) -> Layout {
        let content = self.text("content", raw.content.as_ref(), str::parse);
        let piece = self.text("piece_length", raw.piece_length.as_ref(), str::parse);
        forms::layout(content, raw.pieces, piece).unwrap_or_else(|(key, told)| {
            let value = match key {
                "pieces" => raw.pieces.map(|pieces| pieces.to_string()),
                "piece_length" => raw.piece_length.clone(),
                _ => raw.content.clone(),
            };
            self.fault(key, value.unwrap_or_default(), told);
            Layout::of(ByteCount::gib(1)).expect("1 GiB has a layout")
        })
    }

    /// Reads every text of a list; wrong ones are left out.
    fn list<T, E: fmt::Display>(
        &mut self,
        key: &str,
        texts: &[String],
        mut parse: impl FnMut(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let mut read = Vec::with_capacity(texts.len());
        for (place, text) in texts.iter().enumerate() {
            match parse(text.trim()) {
                Ok(value) => read.push(value),
                Err(told) => self.fault(format!("{key}[{place}]"), text, told),
            }
        }
        read
    }

    fn groups(&mut self, texts: &[String], (up, down): (Rate, Rate), hosts: u32) -> Vec<Group> {
        let groups = self.list("groups", texts, |text| {
            let (some, new_up, new_down) = forms::group(text)?;
            let group = Group {
                hosts: forms::count_of(some, hosts)?,
                up: new_up.from(up),
                down: new_down.from(down),
            };
            if group.up == Rate(0) || group.down == Rate(0) {
                return Err(ZERO_RATE.to_owned());
            }
            Ok(group)
        });
        let sum: u64 = groups.iter().map(|group| u64::from(group.hosts)).sum();
        if sum > u64::from(hosts) {
            self.fault(
                "groups",
                texts.join(", "),
                format_args!("they have {sum} of {hosts} hosts"),
            );
        }
        groups
    }

    fn zones(&mut self, texts: &[String], hosts: u32) -> Vec<Zone> {
        let mut seen: Vec<String> = Vec::new();
        let zones = self.list("zones", texts, |text| {
            let (name, part) = forms::zone(text)?;
            if let Some(part) = part {
                forms::count_of(part, hosts)?;
            }
            if seen.contains(&name) {
                return Err("there is one zone of each name".to_owned());
            }
            seen.push(name.clone());
            Ok((name, part))
        });
        forms::share_out(zones, hosts).unwrap_or_else(|told| {
            self.fault("zones", texts.join(", "), told);
            Vec::new()
        })
    }

    fn pipes(&mut self, texts: &[String], zones: &[Zone]) -> Vec<Pipe> {
        self.list("pipes", texts, |text| forms::pipe(text, zones))
            .into_iter()
            .flatten()
            .collect()
    }

    /// The faults. One that is known to befall nobody is wrong: a run would seem to have withstood it.
    fn troubles(
        &mut self,
        texts: &[String],
        (hosts, seeds): (u32, u32),
        time_limit: Duration,
    ) -> Vec<Fault> {
        self.list("faults", texts, |text| {
            let fault: Fault = text
                .parse()
                .map_err(|error: super::ParseFaultError| error.to_string())?;
            let beyond = |what, count| Err(format!("there are {count} {what}, counted from 0"));
            let is_slowness = matches!(fault.what, Trouble::Slow(..) | Trouble::Stall(..));
            if matches!(fault.at, When::After(wait) if wait >= time_limit) {
                return Err("the run ends before".to_owned());
            }
            match fault.what.who() {
                Some(Who::Origin) if !is_slowness => {
                    Err("an origin is slowed or stalled, nothing else".to_owned())
                }
                Some(Who::Some(some)) if some.of(hosts) == 0 => Err("it befalls nobody".to_owned()),
                Some(Who::Host(host)) if host >= hosts => beyond("hosts", hosts),
                Some(Who::Some(some)) => forms::count_of(some, hosts).map(|_| fault),
                Some(Who::Seed(seed)) if seed >= seeds => beyond("seeds", seeds),
                _ => Ok(fault),
            }
        })
    }
}
