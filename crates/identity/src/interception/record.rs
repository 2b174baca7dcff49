//! The authority as it is kept: when another one is made, and when that takes over.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use types::HostPattern;
use zeroize::{Zeroize, Zeroizing};

use super::InterceptionError;
use crate::private_dir::PrivateDir;

pub(super) const FILE: &str = "authority.json";
const VERSION: u32 = 1;
/// Clients take no server certificate that is good for longer than 825 days; its authority needs no more either.
const LIFETIME: Duration = Duration::from_secs(800 * 24 * 3600);
/// With less left, a successor is made, which clients can be told of meanwhile.
pub(super) const SUCCEEDED: Duration = Duration::from_secs(30 * 24 * 3600);
/// With less left, the successor takes over: no host's certificate outlives its authority.
pub(super) const REPLACED: Duration = Duration::from_secs(7 * 24 * 3600);
/// Clocks of clients may be behind by this.
const DATED_BACK: Duration = Duration::from_secs(24 * 3600);

/// The whole file.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct Record {
    version: u32,
    /// For whom it speaks, as they are listed.
    pub(super) hosts: Vec<String>,
    #[serde(flatten)]
    pub(super) current: Authority,
    /// Who takes over next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<Authority>,
}

/// A certificate and its key.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct Authority {
    /// Seconds since 1970.
    expires_at: u64,
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl Authority {
    pub(super) fn expires_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.expires_at)
    }

    fn has_left(&self, time: Duration, now: SystemTime) -> bool {
        self.expires_at() > now + time
    }

    fn make(hosts: &[HostPattern], now: SystemTime) -> Result<Self, InterceptionError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named("Pantala proxy of this machine");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.name_constraints = Some(constraints(hosts));
        (params.not_before, params.not_after) = valid(now, LIFETIME);
        let certificate = params.self_signed(&key)?;
        let expires_at = (now + LIFETIME).duration_since(SystemTime::UNIX_EPOCH);
        Ok(Self {
            expires_at: expires_at.unwrap_or_default().as_secs(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// The file in `dir`, as it should be at `now` for `hosts`: made, or brought up to date there.
pub(super) fn settle(
    dir: &PrivateDir,
    hosts: &[HostPattern],
    now: SystemTime,
) -> Result<Record, InterceptionError> {
    let lock = dir.lock()?;
    let listed: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let held = read(dir)?.filter(|held| held.hosts == listed);
    let (current, next) = held.map_or((None, None), |held| (Some(held.current), held.next));
    let lasting = |time| move |one: &Authority| one.has_left(time, now);
    let next = next.filter(lasting(SUCCEEDED));
    let (current, next) = match (current.filter(lasting(REPLACED)), next) {
        (Some(current), next) => (current, next),
        (None, Some(next)) => (next, None),
        (None, None) => (Authority::make(hosts, now)?, None),
    };
    let next = match next {
        None if !current.has_left(SUCCEEDED, now) => Some(Authority::make(hosts, now)?),
        next => next,
    };
    let record = Record {
        version: VERSION,
        hosts: listed,
        current,
        next,
    };
    let text = Zeroizing::new(serde_json::to_vec(&record).expect("texts and numbers"));
    if dir.read(FILE)?.is_none_or(|held| *held != *text) {
        lock.write(FILE, &text)?;
    }
    Ok(record)
}

/// The file in `dir`; none if there is none.
pub(super) fn read(dir: &PrivateDir) -> Result<Option<Record>, InterceptionError> {
    let damaged = || InterceptionError::Damaged(dir.path_of(FILE).display().to_string());
    let Some(text) = dir.read(FILE)? else {
        return Ok(None);
    };
    let record: Record = serde_json::from_slice(&text).map_err(|_| damaged())?;
    let is_whole =
        |one: &Authority| CertificateDer::from_pem_slice(one.certificate.as_bytes()).is_ok();
    let are_whole = is_whole(&record.current) && record.next.as_ref().is_none_or(is_whole);
    if record.version != VERSION || !are_whole {
        return Err(damaged());
    }
    Ok(Some(record))
}

/// The listed hosts and, of the other kind of names, nobody: a list of names alone would leave every address open.
fn constraints(hosts: &[HostPattern]) -> NameConstraints {
    let address = |address: IpAddr| {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, bits))
    };
    let permitted: Vec<GeneralSubtree> = hosts
        .iter()
        .filter_map(|hosts| match (hosts.address(), hosts.domain()) {
            (Some(own), _) => Some(address(own)),
            (None, Some(domain)) => Some(GeneralSubtree::DnsName(domain.to_owned())),
            (None, None) => None,
        })
        .collect();
    let has = |is_kind: fn(&GeneralSubtree) -> bool| permitted.iter().any(is_kind);
    let mut excluded = Vec::new();
    if !has(|subtree| matches!(subtree, GeneralSubtree::DnsName(_))) {
        excluded.push(GeneralSubtree::DnsName(String::new()));
    }
    if !has(|subtree| matches!(subtree, GeneralSubtree::IpAddress(_))) {
        excluded.extend([
            GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
            GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
        ]);
    }
    NameConstraints {
        permitted_subtrees: permitted,
        excluded_subtrees: excluded,
    }
}

pub(super) fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

pub(super) fn valid<T: From<SystemTime>>(now: SystemTime, lifetime: Duration) -> (T, T) {
    ((now - DATED_BACK).into(), (now + lifetime).into())
}
