//! Which hosts are seeds, by their certificates: whose word counts although no digest names the content.
//!
//! What a seed signed is passed on long after it left. So a seed is known beyond its links: as long as the newest certificate
//! that anybody saw of it is valid. One without the role, made later, ends it. Certificates are passed on as they are, and
//! whoever gets one holds it against the authority: no host and no scheduler is believed in this.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use types::HostId;

use crate::{
    authority::Authority,
    certificate::{CertificateFault, Leaf},
    load_error::LoadError,
    pem,
    private_dir::{Locked, PrivateDir},
    role::Role,
};

/// Where a host keeps them.
const SEEDS_FILE: &str = "seeds";

/// The newest certificates of hosts that are seeds, and of those that were, until they expire. Bounded: beyond [`Seeds::MAX`]
/// the one that was made first is forgotten.
#[derive(Clone, Debug, Default)]
pub struct Seeds(BTreeMap<HostId, Arc<Leaf>>);

/// The certificate of a host that is, or was, a seed, to be passed on. Clones share its bytes.
#[derive(Clone, Debug)]
pub struct SeedCertificate(Arc<Leaf>);

impl AsRef<[u8]> for SeedCertificate {
    fn as_ref(&self) -> &[u8] {
        &self.0.der
    }
}

impl PartialEq for SeedCertificate {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.der == other.0.der
    }
}

/// Why a certificate that was passed on is not believed.
#[derive(Debug, thiserror::Error)]
pub enum PassedOnError {
    /// It is none of ours.
    #[error("it is unfit")]
    Unfit(#[source] CertificateFault),
    /// Another authority's, or expired.
    #[error("the authority of this cluster does not vouch for it, or not any more")]
    Foreign,
    /// Its host was thrown out.
    #[error("the host {0} was revoked")]
    Revoked(HostId),
}

impl Seeds {
    /// Hosts that are known at once.
    pub const MAX: usize = 1024;
    /// The longest certificate that is passed on, in bytes: ours have some 600.
    pub const CERTIFICATE_MAX: usize = 2048;

    /// Whether a certificate, if it is genuine, is news: of a host that has, or had, the role, and newer.
    pub(crate) fn is_news(&self, leaf: &Leaf) -> bool {
        let is_seed = is_shown_seed(leaf);
        match self.0.get(&leaf.host) {
            None => is_seed,
            // Certificates tell whole seconds. Of two in one the lesser counts.
            Some(known) if known.issued_at == leaf.issued_at => is_shown_seed(known) && !is_seed,
            Some(known) => known.issued_at < leaf.issued_at,
        }
    }

    /// Takes the certificate of a host, which is genuine. Whether it is news.
    pub(crate) fn learn(&mut self, leaf: &Leaf) -> bool {
        let is_news = self.is_news(leaf);
        if is_news {
            self.0.insert(leaf.host, Arc::new(leaf.clone()));
        }
        if self.0.len() > Self::MAX
            && let Some((first, _)) = self.0.iter().min_by_key(|(_, leaf)| leaf.issued_at)
        {
            let first = *first;
            self.0.remove(&first);
            return first != leaf.host;
        }
        is_news
    }

    /// Forgets hosts. Whether there were any.
    pub(crate) fn forget(&mut self, is_gone: impl Fn(HostId) -> bool) -> bool {
        let before = self.0.len();
        self.0.retain(|host, _| !is_gone(*host));
        self.0.len() < before
    }

    /// Whether `host` is a seed at this time, which is behind the clock by the grace that expired certificates have.
    pub(crate) fn is_seed(&self, host: &HostId, at: SystemTime) -> bool {
        let known = self.0.get(host);
        known.is_some_and(|leaf| is_shown_seed(leaf) && at <= leaf.expires_at)
    }

    /// All that are seeds at this time.
    pub(crate) fn all(&self, at: SystemTime) -> BTreeSet<HostId> {
        let hosts = self.0.keys().copied();
        hosts.filter(|host| self.is_seed(host, at)).collect()
    }

    /// Forgets what expired before `at`: whatever else was made for those hosts expired earlier.
    pub(crate) fn forget_expired(&mut self, at: SystemTime) {
        self.0.retain(|_, leaf| at <= leaf.expires_at);
    }

    /// Whether this very certificate is here.
    pub(crate) fn has(&self, certificate: &[u8]) -> bool {
        self.0.values().any(|leaf| &*leaf.der == certificate)
    }

    /// The certificate that tells whether `host` is, or was, a seed.
    pub fn certificate_of(&self, host: &HostId) -> Option<&[u8]> {
        self.0.get(host).map(|leaf| &*leaf.der)
    }

    /// The same, while it is valid.
    pub(crate) fn valid_certificate_of(
        &self,
        host: &HostId,
        at: SystemTime,
    ) -> Option<SeedCertificate> {
        let valid = self.0.get(host).filter(|leaf| at <= leaf.expires_at);
        valid.map(|leaf| SeedCertificate(Arc::clone(leaf)))
    }

    /// All of them.
    pub fn certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.0.values().map(|leaf| &*leaf.der)
    }

    /// Those that are valid at `at`, to be passed on.
    pub fn valid_at(&self, at: SystemTime) -> impl Iterator<Item = &[u8]> {
        let valid = self.0.values().filter(move |leaf| at <= leaf.expires_at);
        valid.map(|leaf| &*leaf.der)
    }

    /// Those that are not in `before`.
    pub fn news_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a [u8]> {
        let is_news =
            |(host, leaf): &(&HostId, &Arc<Leaf>)| before.certificate_of(host) != Some(&*leaf.der);
        self.0.iter().filter(is_news).map(|(_, leaf)| &*leaf.der)
    }

    /// Those in `dir` that `authority` made. What cannot be read is learned anew: nothing depends on it but bytes that are read
    /// once more.
    pub(crate) fn load(dir: &PrivateDir, authority: &Authority) -> Self {
        let text = dir.read(SEEDS_FILE).ok().flatten();
        let blocks = text.and_then(|text| pem::read(&text).ok());
        let mut seeds = Self::default();
        for der in blocks.into_iter().flat_map(|blocks| blocks.certificates) {
            if let Ok(leaf) = Leaf::read(&der)
                && authority.vouches_for(&leaf, leaf.expires_at)
            {
                // Made in whatever order: also a certificate that ended a role is kept.
                seeds.0.insert(leaf.host, Arc::new(leaf));
            }
        }
        while seeds.0.len() > Self::MAX {
            seeds.0.pop_first();
        }
        seeds
    }

    /// Writes them into `dir`, which is a host's.
    pub fn save(&self, dir: &Path) -> Result<(), LoadError> {
        self.write(&PrivateDir::open_or_create(dir)?.lock()?)
    }

    pub(crate) fn write(&self, to: &Locked<'_>) -> Result<(), LoadError> {
        let mut text = String::new();
        for der in self.certificates() {
            text.push_str(&pem::write("CERTIFICATE", der));
        }
        to.write(SEEDS_FILE, text.as_bytes())
    }
}

fn is_shown_seed(leaf: &Leaf) -> bool {
    leaf.roles.contains(Role::Seed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Identity, Links, NodeKey, role::Roles, testing::Cluster};

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn host(number: u16) -> HostId {
        let mut bytes = [7; 32];
        bytes[..2].copy_from_slice(&number.to_le_bytes());
        HostId::from_bytes(bytes)
    }

    /// A certificate of host `number` that was made `seconds` after others.
    fn leaf(cluster: &Cluster, number: u16, (role, seconds): (Role, u64)) -> Leaf {
        cluster
            .ca
            .make_leaf(host(number), Roles::from(role), at(seconds))
    }

    #[test]
    fn the_newest_certificate_tells_who_is_a_seed() {
        let cluster = Cluster::new("newest");
        let mut seeds = Seeds::default();
        let of = |role, seconds| leaf(&cluster, 1, (role, seconds));
        assert!(!seeds.learn(&of(Role::Daemon, 5)), "it never was a seed");
        assert!(seeds.learn(&of(Role::Seed, 10)));
        assert!(!seeds.learn(&of(Role::Seed, 10)), "it is known");
        assert!(!seeds.learn(&of(Role::Daemon, 5)), "it became one later");
        assert!(seeds.is_seed(&host(1), at(20)));
        assert!(seeds.learn(&of(Role::Daemon, 30)));
        assert!(!seeds.is_seed(&host(1), at(31)));
        assert!(!seeds.learn(&of(Role::Seed, 10)), "a replay");
        assert!(!seeds.is_seed(&host(1), at(31)));
        assert_eq!(seeds.certificates().count(), 1, "its end is told too");
        assert!(seeds.learn(&of(Role::Seed, 40)), "it is one again");
        assert!(seeds.is_seed(&host(1), at(40)));
        assert!(!seeds.is_seed(&host(1), at(40 + 73 * 3600)), "it expired");
        assert!(seeds.forget(|gone| gone == host(1)));
        assert!(!seeds.is_seed(&host(1), at(40)));
    }

    #[test]
    fn the_certificate_that_was_made_first_is_forgotten_first() {
        let cluster = Cluster::new("many");
        let mut seeds = Seeds::default();
        let seed = |number: u16| leaf(&cluster, number, (Role::Seed, u64::from(number)));
        let last = u16::try_from(Seeds::MAX).expect("few");
        for number in 1..=last {
            assert!(seeds.learn(&seed(number)));
        }
        assert!(!seeds.learn(&seed(0)), "it is the oldest itself");
        let before = seeds.clone();
        assert!(seeds.learn(&seed(last + 1)));
        let now = at(u64::from(last));
        assert!(!seeds.is_seed(&host(1), now) && seeds.is_seed(&host(2), now));
        let news: Vec<&[u8]> = seeds.news_since(&before).collect();
        assert_eq!(
            news,
            [seeds.certificate_of(&host(last + 1)).expect("known")]
        );
    }

    #[test]
    fn a_certificate_that_expired_is_passed_on_to_nobody_and_gives_up_its_place() {
        let cluster = Cluster::new("expired");
        let mut seeds = Seeds::default();
        assert!(seeds.learn(&leaf(&cluster, 1, (Role::Seed, 0))));
        assert!(seeds.learn(&leaf(&cluster, 2, (Role::Seed, 3600))));
        let later = at(72 * 3600 + 60);
        assert_eq!(seeds.valid_at(later).count(), 1);
        assert!(seeds.valid_certificate_of(&host(1), later).is_none());
        assert!(seeds.valid_certificate_of(&host(2), later).is_some());
        seeds.forget_expired(later);
        assert_eq!(seeds.certificates().count(), 1);
    }

    #[test]
    fn a_seed_believes_itself_however_many_others_there_are() {
        let cluster = Cluster::new("itself");
        let old = SystemTime::now() - Duration::from_secs(3600);
        let own = cluster
            .ca
            .identity_for(&NodeKey::ephemeral(), Role::Seed.into(), old);
        let links = Links::new(own.expect("a certificate"));
        let own = links.identity().host();
        for number in 1..=u16::try_from(Seeds::MAX).expect("few") {
            let other = cluster
                .ca
                .make_leaf(host(number), Role::Seed.into(), SystemTime::now());
            links.learn_certificate(&other.der).expect("genuine");
        }
        assert!(links.certificate_of(&own).is_none(), "it was made first");
        assert!(links.is_seed(&own));
    }

    #[test]
    fn a_book_that_cannot_be_read_is_begun_anew() {
        let cluster = Cluster::new("unreadable");
        let dir = cluster.place().join("host");
        let key = NodeKey::load_or_create(&dir).expect("a key");
        let identity = (cluster.ca).identity_for(&key, Role::Seed.into(), SystemTime::now());
        let links = Links::new(identity.expect("a certificate"));
        links.identity().save(&dir).expect("saved");
        std::fs::remove_file(dir.join(SEEDS_FILE)).expect("it is there");
        std::fs::create_dir(dir.join(SEEDS_FILE)).expect("a folder in its place");
        let again = Identity::load(&dir).expect("readable").expect("there");
        assert_eq!(again.seeds().certificates().count(), 0);
    }

    #[test]
    fn a_certificate_that_is_passed_on_counts_if_this_authority_made_it() {
        let (cluster, forged) = (Cluster::new("passed"), Cluster::new("passed"));
        let links = Links::new(cluster.host(Role::Daemon));
        let is_taken = |of: &Identity| links.learn_certificate(&of.leaf().der);
        let seed = cluster.host(Role::Seed);
        let before = links.seeds();
        assert!(is_taken(&seed).expect("genuine"));
        assert!(!is_taken(&seed).expect("genuine"), "it is known");
        assert!(before.has_changed().expect("it lives") && links.is_seed(&seed.host()));
        let plain = cluster.host(Role::Daemon);
        assert!(!is_taken(&plain).expect("genuine"));
        assert!(!links.is_seed(&plain.host()));
        let foreign = forged.host(Role::Seed);
        assert!(matches!(is_taken(&foreign), Err(PassedOnError::Foreign)));
        let long_ago = SystemTime::now() - Duration::from_secs(80 * 3600);
        let expired = cluster
            .ca
            .identity_for(&NodeKey::ephemeral(), Role::Seed.into(), long_ago);
        let expired = expired.expect("it was good once");
        assert!(matches!(is_taken(&expired), Err(PassedOnError::Foreign)));
        assert!(matches!(
            links.learn_certificate(b"no certificate"),
            Err(PassedOnError::Unfit(_))
        ));
    }

    #[test]
    fn a_seed_that_is_thrown_out_is_forgotten_at_once_and_does_not_come_back() {
        let cluster = Cluster::new("outcast");
        let links = Links::new(cluster.host(Role::Daemon));
        let seed = cluster.host(Role::Seed);
        let certificate = seed.leaf().der.to_vec();
        assert!(links.learn_certificate(&certificate).expect("genuine"));
        let list = cluster.ca.revoke(seed.host(), SystemTime::now());
        let list = list.expect("revoked");
        assert!(links.learn_revocations(list.as_bytes()).expect("a list"));
        assert!(!links.is_seed(&seed.host()));
        assert_eq!(links.seeds().borrow().certificates().count(), 0);
        assert!(matches!(
            links.learn_certificate(&certificate),
            Err(PassedOnError::Revoked(_))
        ));
    }

    #[test]
    fn seeds_outlive_a_restart_unless_they_were_thrown_out() {
        let cluster = Cluster::new("restart");
        let dir = cluster.place().join("host");
        let key = NodeKey::load_or_create(&dir).expect("a key");
        let identity = cluster
            .ca
            .identity_for(&key, Role::Daemon.into(), SystemTime::now());
        let links = Links::new(identity.expect("a certificate"));
        let seeds = [(); 2].map(|()| cluster.host(Role::Seed));
        for seed in &seeds {
            assert!(links.learn_certificate(&seed.leaf().der).expect("genuine"));
        }
        links.identity().save(&dir).expect("saved");
        let again = Identity::load(&dir).expect("readable").expect("there");
        let list = cluster.ca.revoke(seeds[0].host(), SystemTime::now());
        let again = Links::new(again.with_revocations(list.expect("revoked")));
        let known = seeds.each_ref().map(|seed| again.is_seed(&seed.host()));
        assert_eq!(known, [false, true]);
    }
}
