//! What goes wrong and when, in words: `kill 5% at 10s`, `slow importer to 0.1x at 50% for 30s`.

use std::{str::FromStr, time::Duration};

use super::words::{Allowed, NewRate, Portion, clock_speed, duration, new_rate, portion};

/// One fault of a scenario.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// When it begins.
    pub at: When,
    /// What happens.
    pub what: Trouble,
}

/// When a fault begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// After that much virtual time.
    After(Duration),
    /// As soon as that part of the content, from 0 to 1, is imported.
    Imported(f64),
}

/// Whom a fault befalls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Who {
    /// A receiving host by number, from 0.
    Host(u32),
    /// A seed by number, from 0.
    Seed(u32),
    /// Whoever holds the lease then.
    Importer,
    /// Hosts drawn at random then.
    Some(Portion),
    /// The origin.
    Origin,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trouble {
    /// Gone without a goodbye, for good or for that long.
    Kill(Who, Option<Duration>),
    /// The links get another rate, for good or for that long.
    Slow(Who, NewRate, Option<Duration>),
    /// Connections stay open and no byte moves, for good or for that long.
    Stall(Who, Option<Duration>),
    /// Sends wrong bytes from then on.
    Lie(Who),
    /// The scheduler forgets all and is away for that long.
    SchedulerRestart(Duration),
    /// The monotonic clock moves. It cannot go back: if `back`, the host is paused and its clock does not count it.
    ClockJump {
        /// Whose.
        who: Who,
        /// How far.
        by: Duration,
        /// Whether it falls behind.
        back: bool,
    },
    /// The monotonic clock runs that many times as fast, for good or for that long.
    ClockDrift(Who, f64, Option<Duration>),
}

impl Trouble {
    /// Whom it befalls, unless the scheduler.
    pub const fn who(&self) -> Option<Who> {
        match *self {
            Self::Kill(who, _) | Self::Slow(who, ..) | Self::Stall(who, _) | Self::Lie(who) => {
                Some(who)
            }
            Self::ClockJump { who, .. } | Self::ClockDrift(who, ..) => Some(who),
            Self::SchedulerRestart(_) => None,
        }
    }
}

/// Why a text is no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseFaultError(Allowed);

const FORMS: Allowed = "a fault is one of: kill WHO at WHEN [for TIME], slow WHO to RATE at WHEN [for TIME], stall WHO \
                        at WHEN [for TIME], liar WHO at WHEN, scheduler restart at WHEN [for TIME], clock jump WHO by \
                        [-]TIME at WHEN, clock drift WHO to SPEED at WHEN [for TIME]";
const WHO: Allowed = "who is one of: host N, seed N, importer, origin, N% of the hosts (as in 5%), N hosts (as in 3 hosts)";
const WHEN: Allowed = "when is a time (at 10s) or a part of the content imported (at 50%)";

/// The words that are left.
struct Words<'a>(&'a [&'a str]);

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// Takes `word` if it comes next.
    fn take(&mut self, word: &str) -> bool {
        let is_next = self.0.first() == Some(&word);
        if is_next {
            self.next();
        }
        is_next
    }

    fn expect(&mut self, word: &str) -> Result<(), Allowed> {
        if self.take(word) { Ok(()) } else { Err(FORMS) }
    }

    fn duration(&mut self) -> Result<Duration, Allowed> {
        self.next().ok_or(FORMS).and_then(duration)
    }

    fn number(&mut self) -> Result<u32, Allowed> {
        self.next().and_then(|word| word.parse().ok()).ok_or(WHO)
    }

    fn who(&mut self) -> Result<Who, Allowed> {
        Ok(match self.next().ok_or(WHO)? {
            "host" => Who::Host(self.number()?),
            "seed" => Who::Seed(self.number()?),
            "importer" => Who::Importer,
            "origin" => Who::Origin,
            some => {
                let some = portion(some).map_err(|_| WHO)?;
                let counts = self.take("hosts") || self.take("host");
                if !counts && matches!(some, Portion::Count(_)) {
                    return Err(WHO);
                }
                Who::Some(some)
            }
        })
    }

    fn when(&mut self) -> Result<When, Allowed> {
        self.expect("at")?;
        let word = self.next().ok_or(WHEN)?;
        match portion(word) {
            Ok(Portion::Part(part)) => Ok(When::Imported(part)),
            _ => duration(word).map(When::After).map_err(|_| WHEN),
        }
    }

    fn span(&mut self) -> Result<Option<Duration>, Allowed> {
        if self.take("for") {
            self.duration().map(Some)
        } else {
            Ok(None)
        }
    }

    /// The whole line: `make` builds the fault once its tail, when and how long, is known.
    fn fault(&mut self) -> Result<Fault, Allowed> {
        let (at, what) = match self.next().ok_or(FORMS)? {
            "kill" => {
                let who = self.who()?;
                (self.when()?, Trouble::Kill(who, self.span()?))
            }
            "slow" => {
                let who = self.who()?;
                self.expect("to")?;
                let rate = new_rate(self.next().ok_or(FORMS)?)?;
                (self.when()?, Trouble::Slow(who, rate, self.span()?))
            }
            "stall" => {
                let who = self.who()?;
                (self.when()?, Trouble::Stall(who, self.span()?))
            }
            "liar" => {
                let who = self.who()?;
                (self.when()?, Trouble::Lie(who))
            }
            "scheduler" => {
                self.expect("restart")?;
                let at = self.when()?;
                let away = self.span()?.unwrap_or(Duration::from_secs(1));
                (at, Trouble::SchedulerRestart(away))
            }
            "clock" if self.take("drift") => {
                let who = self.who()?;
                self.expect("to")?;
                let speed = self.next().ok_or(FORMS).and_then(clock_speed)?;
                (self.when()?, Trouble::ClockDrift(who, speed, self.span()?))
            }
            "clock" => {
                self.expect("jump")?;
                let who = self.who()?;
                self.expect("by")?;
                let by = self.next().ok_or(FORMS)?;
                let (back, by) = by.strip_prefix('-').map_or((false, by), |by| (true, by));
                let what = Trouble::ClockJump {
                    who,
                    by: duration(by)?,
                    back,
                };
                (self.when()?, what)
            }
            _ => return Err(FORMS),
        };
        if self.0.is_empty() {
            Ok(Fault { at, what })
        } else {
            Err(FORMS)
        }
    }
}

impl FromStr for Fault {
    type Err = ParseFaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<&str> = text.split_whitespace().collect();
        Words(&words).fault().map_err(ParseFaultError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{rate::Rate, scenario::words::CLOCK_SPEED};

    fn fault(text: &str) -> (When, Trouble) {
        let fault: Fault = text
            .parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        (fault.at, fault.what)
    }

    const TEN: When = When::After(Duration::from_secs(10));
    const HALF: When = When::Imported(0.5);

    #[test]
    fn each_form_is_read() {
        let second = Duration::from_secs(1);
        assert_eq!(
            fault("kill host 3 at 10s"),
            (TEN, Trouble::Kill(Who::Host(3), None))
        );
        assert_eq!(
            fault("kill importer at 50%"),
            (HALF, Trouble::Kill(Who::Importer, None))
        );
        let some = Who::Some(Portion::Part(0.05));
        assert_eq!(
            fault("kill 5% at 10s for 1s"),
            (TEN, Trouble::Kill(some, Some(second)))
        );
        let three = Who::Some(Portion::Count(3));
        assert_eq!(
            fault("stall 3 hosts at 50%"),
            (HALF, Trouble::Stall(three, None))
        );
        let rate = NewRate::To(Rate::mbit(10));
        let slow = Trouble::Slow(Who::Origin, rate, Some(second));
        assert_eq!(fault("slow origin to 10Mbit at 10s for 1s"), (TEN, slow));
        assert_eq!(
            fault("liar seed 0 at 10s"),
            (TEN, Trouble::Lie(Who::Seed(0)))
        );
        assert_eq!(
            fault("scheduler restart at 10s"),
            (TEN, Trouble::SchedulerRestart(second))
        );
        let jump = Trouble::ClockJump {
            who: Who::Host(1),
            by: second * 3600,
            back: true,
        };
        assert_eq!(fault("clock jump  host 1 by -1h at 10s"), (TEN, jump));
        let drift = Trouble::ClockDrift(Who::Importer, 0.95, Some(second));
        assert_eq!(
            fault("clock drift importer to 0.95x at 50% for 1s"),
            (HALF, drift)
        );
    }

    #[test]
    fn what_is_no_fault_is_told_what_one_is() {
        for (bad, told) in [
            ("", FORMS),
            ("explode host 3 at 10s", FORMS),
            ("kill host 3 at 10s now", FORMS),
            ("kill host three at 10s", WHO),
            ("kill 3 at 10s", WHO),
            ("kill importer at noon", WHEN),
            ("kill importer at 3", WHEN),
            ("slow host 3 at 10s", FORMS),
            ("liar host 1 at 10s for 1s", FORMS),
            ("clock drift host 1 at 10s", FORMS),
            ("clock drift host 1 to 3x at 10s", CLOCK_SPEED),
        ] {
            assert_eq!(bad.parse::<Fault>(), Err(ParseFaultError(told)), "{bad}");
        }
    }
}
