//! Understanding single values: each method gives the value, or notes a fault and gives none.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use simulator::rate::Rate;
use types::ByteCount;

use super::{
    fault::{Fault, Place},
    layers::{Settings, Value},
    units,
};

/// A host by name or address, and a port: something to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// A name, or an address without brackets.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
}

impl FromStr for Endpoint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ALLOWED: &str =
            "an endpoint is HOST:PORT, such as scheduler.corp:7470 or [fd00::1]:7470";
        let (host, port) = text.rsplit_once(':').ok_or(ALLOWED)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(ALLOWED)?;
        let host = match host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            Some(address) => {
                address.parse::<std::net::Ipv6Addr>().map_err(|_| ALLOWED)?;
                address
            }
            None => host,
        };
        let fits = !host.is_empty()
            && host
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_' | b':'))
            && (!host.contains(':') || text.starts_with('['));
        let host = host.to_owned();
        fits.then_some(Self { host, port }).ok_or(ALLOWED)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(to, "[{}]:{}", self.host, self.port)
        } else {
            write!(to, "{}:{}", self.host, self.port)
        }
    }
}

/// Reads settings and collects what is wrong with them.
pub(super) struct Reader {
    pub(super) settings: Settings,
    pub(super) faults: Vec<Fault>,
}

impl Reader {
    /// Notes that the value of `key` is wrong.
    pub(super) fn fault(&mut self, key: &str, told: impl fmt::Display) {
        let place = self
            .settings
            .get(key)
            .map_or(Place::Default, |(_, place)| place.clone());
        let (key, told) = (key.to_owned(), told.to_string());
        self.faults.push(Fault { place, key, told });
    }

    fn one(&self, key: &str) -> Option<String> {
        match &self.settings.get(key)?.0 {
            Value::One(text) => Some(text.clone()),
            Value::Many(_) => None,
        }
    }

    fn many(&self, key: &str) -> Vec<String> {
        match self.settings.get(key) {
            Some((Value::Many(texts), _)) => texts.clone(),
            _ => Vec::new(),
        }
    }

    /// The value of `key` as `read` understands it; the inner none if it is unset, the outer one after a fault.
    pub(super) fn maybe<T, E: fmt::Display>(
        &mut self,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Option<T>> {
        let Some(text) = self.one(key) else {
            return Some(None);
        };
        match read(&text) {
            Ok(value) => Some(Some(value)),
            Err(error) => {
                self.fault(key, format!("{text:?}: {error}"));
                None
            }
        }
    }

    /// Likewise, of a key that has a default.
    pub(super) fn must<T, E: fmt::Display>(
        &mut self,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = self.maybe(key, read)?;
        if value.is_none() {
            self.fault(key, "it must be set");
        }
        value
    }

    /// Every value of a list; one fault per item that is wrong.
    pub(super) fn list<T, E: fmt::Display>(
        &mut self,
        key: &str,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let mut good = true;
        let mut values = Vec::new();
        for text in self.many(key) {
            match read(&text) {
                Ok(value) => values.push(value),
                Err(error) => {
                    good = false;
                    self.fault(key, format!("{text:?}: {error}"));
                }
            }
        }
        good.then_some(values)
    }

    /// A whole number within bounds.
    pub(super) fn whole<T>(&mut self, key: &str, from: T, to: T) -> Option<T>
    where
        T: FromStr + PartialOrd + fmt::Display + Copy,
    {
        self.must(key, |text| {
            let number = text
                .parse::<T>()
                .ok()
                .filter(|number| (from..=to).contains(number));
            number.ok_or_else(|| format!("a whole number from {from} to {to}"))
        })
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &str) -> Option<bool> {
        self.must(key, |text| {
            text.parse::<bool>().map_err(|_| "it is true or false")
        })
    }

    /// An absolute path.
    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        self.must(key, absolute)
    }

    /// A duration from `least` on.
    pub(super) fn duration(&mut self, key: &str, least: Duration) -> Option<Duration> {
        self.must(key, |text| match units::duration(text) {
            Ok(time) if time < least => Err("it is too short: a second at least"),
            other => other,
        })
    }

    /// A rate in bytes per second.
    pub(super) fn rate(&mut self, key: &str) -> Option<Option<ByteCount>> {
        self.maybe(key, |text| {
            text.parse::<Rate>().map(|rate| ByteCount(rate.0))
        })
    }

    /// A rate that limits something, and so is not zero.
    pub(super) fn limit(&mut self, key: &str) -> Option<Option<ByteCount>> {
        let rate = self.rate(key)?;
        if rate == Some(ByteCount::ZERO) {
            self.fault(key, "nothing would ever move: leave it unset for no limit");
            return None;
        }
        Some(rate)
    }

    /// An address to listen at.
    pub(super) fn address(&mut self, key: &str) -> Option<SocketAddr> {
        self.must(key, |text| {
            text.parse()
                .map_err(|_| "an address to listen at is ADDRESS:PORT, such as [::]:7470")
        })
    }

    /// An address to listen at; the inner none if it is off.
    pub(super) fn listener(&mut self, key: &str) -> Option<Option<SocketAddr>> {
        self.must(key, |text| match text {
            "off" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                "an address to listen at is ADDRESS:PORT, such as 127.0.0.1:7472 or [::]:7470, or off"
            }),
        })
    }
}

/// Relative paths would mean something else under each service manager.
pub(super) fn absolute(text: &str) -> Result<PathBuf, &'static str> {
    let path = PathBuf::from(text);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err("a path here is absolute: it starts with /")
    }
}
