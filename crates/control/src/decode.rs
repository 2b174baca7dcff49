//! Protobuf into ours: the border. Every list, length and address is bounded and checked here and nowhere else.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use types::{
    ByteCount, Digest, Epoch, HostId, Layout, Moment, PieceIndex, PieceRun, Source, TaskId,
    Topology, Validator, Visibility,
};

use crate::{
    Stamped,
    host_message::{
        Ask, CanImport, Found, Have, HostMessage, Inventory, Join, LeaseClaim, LeaseFailed,
        OriginFailure, Progress,
    },
    proto::{self, host_message::Kind as Host, scheduler_message::Kind as Scheduler},
    scheduler_message::{
        FailCause, Introduce, Lease, Neighbour, Recruit, Refusal, SchedulerMessage, Term,
    },
};

/// The longest URL.
const URL_MAX: usize = 8 << 10;
/// The longest version text.
const VERSION_MAX: usize = 64;
/// The longest list of revocations.
const REVOCATIONS_MAX: usize = 4 << 20;

/// A message that breaks the protocol: the stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a control message is malformed: {0}")]
pub struct Malformed(pub(crate) &'static str);

type Checked<T> = Result<T, Malformed>;

fn needed<T>(field: Option<T>, name: &'static str) -> Checked<T> {
    field.ok_or(Malformed(name))
}

fn bounded<T>(list: &[T], most: usize, name: &'static str) -> Checked<()> {
    if list.len() <= most {
        Ok(())
    } else {
        Err(Malformed(name))
    }
}

pub(crate) fn task(bytes: &[u8]) -> Checked<TaskId> {
    let bytes = bytes.try_into().map_err(|_| Malformed("task"))?;
    Ok(TaskId::from_bytes(bytes))
}

pub(crate) fn host(bytes: &[u8]) -> Checked<HostId> {
    let bytes = bytes.try_into().map_err(|_| Malformed("host"))?;
    Ok(HostId::from_bytes(bytes))
}

fn tasks(list: &[Vec<u8>]) -> Checked<Vec<TaskId>> {
    bounded(list, Inventory::HOLDINGS_MAX, "too many tasks")?;
    list.iter().map(|bytes| task(bytes)).collect()
}

fn hosts(list: &[Vec<u8>]) -> Checked<Vec<HostId>> {
    bounded(list, Introduce::HOSTS_MAX, "too many hosts")?;
    list.iter().map(|bytes| host(bytes)).collect()
}

pub(crate) fn layout(layout: proto::Layout) -> Checked<Layout> {
    Layout::of(ByteCount(layout.length)).map_err(|_| Malformed("layout"))
}

fn digest(text: &str) -> Checked<Option<Digest>> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| Malformed("digest"))
}

pub(crate) fn topology(text: &str) -> Checked<Topology> {
    text.parse().map_err(|_| Malformed("topology"))
}

fn address(address: &proto::Address) -> Checked<SocketAddr> {
    let ip: IpAddr = if let Ok(v4) = <[u8; 4]>::try_from(&address.ip[..]) {
        v4.into()
    } else if let Ok(v6) = <[u8; 16]>::try_from(&address.ip[..]) {
        v6.into()
    } else {
        return Err(Malformed("address"));
    };
    let port = u16::try_from(address.port).map_err(|_| Malformed("port"))?;
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    if port == 0 || ip.is_multicast() || is_broadcast {
        return Err(Malformed("address"));
    }
    Ok(SocketAddr::new(ip, port))
}

fn addresses(list: &[proto::Address]) -> Checked<Vec<SocketAddr>> {
    if list.is_empty() {
        return Err(Malformed("no address"));
    }
    addresses_or_none(list)
}

pub(crate) fn addresses_or_none(list: &[proto::Address]) -> Checked<Vec<SocketAddr>> {
    bounded(list, Join::LISTEN_MAX, "too many addresses")?;
    list.iter().map(address).collect()
}

fn source(source: proto::Source) -> Checked<Source> {
    match needed(source.kind, "source")? {
        proto::source::Kind::Url(url) => {
            let has_user = url
                .split_once("://")
                .is_none_or(|(_, rest)| rest.split(['/', '?']).next().unwrap_or("").contains('@'));
            let is_plain = url.bytes().all(|c| c.is_ascii_graphic());
            if url.len() > URL_MAX || has_user || !is_plain {
                return Err(Malformed("url"));
            }
            Ok(Source::Url(url))
        }
        proto::source::Kind::Blob(blob) => Ok(Source::Blob {
            registry: (blob.registry.parse()).map_err(|_| Malformed("registry"))?,
            repository: (blob.repository.parse()).map_err(|_| Malformed("repository"))?,
            digest: blob.digest.parse().map_err(|_| Malformed("digest"))?,
        }),
    }
}

fn visibility(number: i32) -> Checked<Visibility> {
    match proto::Visibility::try_from(number) {
        Ok(proto::Visibility::Public) => Ok(Visibility::Public),
        Ok(proto::Visibility::Private) => Ok(Visibility::Private),
        Err(_) => Err(Malformed("visibility")),
    }
}

fn failure(number: i32) -> Checked<OriginFailure> {
    // A cause that a later version adds passes.
    let Ok(failure) = proto::OriginFailure::try_from(number) else {
        return Ok(OriginFailure::Unreachable);
    };
    Ok(match failure {
        proto::OriginFailure::NotFound => OriginFailure::NotFound,
        proto::OriginFailure::Denied => OriginFailure::Denied,
        proto::OriginFailure::Forbidden => OriginFailure::Forbidden,
        proto::OriginFailure::Mismatch => OriginFailure::Mismatch,
        proto::OriginFailure::Unreachable => OriginFailure::Unreachable,
        proto::OriginFailure::Overloaded => OriginFailure::Overloaded,
    })
}

fn join(join: proto::Join) -> Checked<Join> {
    if join.version.len() > VERSION_MAX || !join.version.bytes().all(|c| c.is_ascii_graphic()) {
        return Err(Malformed("version"));
    }
    Ok(Join {
        topology: topology(&join.topology)?,
        is_seed: join.is_seed,
        listen: addresses(&join.listen)?,
        capacity: u16::try_from(join.capacity).map_err(|_| Malformed("capacity"))?,
        version: join.version,
    })
}

fn ask(ask: proto::Ask) -> Checked<Ask> {
    let can_import = match proto::CanImport::try_from(ask.can_import) {
        Ok(proto::CanImport::No) => CanImport::No,
        Ok(proto::CanImport::Anonymous) => CanImport::Anonymous,
        Ok(proto::CanImport::Credentialed) => CanImport::Credentialed,
        Err(_) => return Err(Malformed("can_import")),
    };
    let have = match ask.have.and_then(|have| have.kind) {
        None => Have::None,
        Some(proto::have::Kind::Pieces(pieces)) => Have::Some(pieces),
        Some(proto::have::Kind::All(_)) => Have::All,
    };
    Ok(Ask {
        task: task(&ask.task)?,
        source: ask.source.map(source).transpose()?,
        layout: ask.layout.map(layout).transpose()?,
        can_import,
        have,
        visibility: visibility(ask.visibility)?,
        digest: digest(&ask.digest)?,
    })
}

fn found(found: proto::Found) -> Checked<Found> {
    use proto::found::Validator as Told;
    let length = ByteCount(found.length);
    let validator = found.validator.map(|validator| match validator {
        Told::Etag(tag) => Validator::ETag(tag),
        Told::Modified(at) => Validator::Modified {
            at,
            length: length.0,
        },
    });
    needed(Found::of(length, validator), "found")
}

fn inventory(inventory: proto::Inventory) -> Checked<Inventory> {
    bounded(&inventory.leases, Inventory::RUNNING_MAX, "too many leases")?;
    bounded(
        &inventory.running,
        Inventory::RUNNING_MAX,
        "too many running tasks",
    )?;
    let claims = inventory.leases.iter().map(|claim| {
        Ok(LeaseClaim {
            task: task(&claim.task)?,
            epoch: Epoch(claim.epoch),
            remaining: Duration::from_nanos(claim.remaining_ns),
        })
    });
    Ok(Inventory {
        leases: claims.collect::<Checked<_>>()?,
        running: (inventory.running.into_iter())
            .map(ask)
            .collect::<Checked<_>>()?,
        holdings: tasks(&inventory.holdings)?,
    })
}

impl TryFrom<proto::HostMessage> for Stamped {
    type Error = Malformed;

    fn try_from(message: proto::HostMessage) -> Checked<Self> {
        let sent = Moment(message.sent);
        let message = match needed(message.kind, "message")? {
            Host::Join(said) => HostMessage::Join(join(said)?),
            Host::Inventory(told) => HostMessage::Inventory(inventory(told)?),
            Host::Ask(asked) => HostMessage::Ask(ask(asked)?),
            Host::Progress(made) => HostMessage::Progress(Progress {
                task: task(&made.task)?,
                have: made.have,
                lease: made.lease.map(Epoch),
                imported: made.imported,
                left: made.left,
            }),
            Host::Resolved(resolved) => HostMessage::Resolved {
                task: task(&resolved.task)?,
                layout: layout(needed(resolved.layout, "layout")?)?,
            },
            Host::LeaseFailed(failed) => HostMessage::LeaseFailed(LeaseFailed {
                task: task(&failed.task)?,
                epoch: Epoch(failed.epoch),
                cause: failure(failed.cause)?,
                permanent: failed.permanent,
            }),
            Host::LeaseReturned(lease) => HostMessage::LeaseReturned {
                task: task(&lease.task)?,
                epoch: Epoch(lease.epoch),
            },
            Host::Holdings(holdings) => HostMessage::Holdings {
                added: tasks(&holdings.added)?,
                removed: tasks(&holdings.removed)?,
            },
            Host::Vouchers(told) => {
                let most = HostMessage::VOUCHERS_MAX;
                bounded(&told.importers, most, "too many importers")?;
                HostMessage::Vouchers {
                    task: task(&told.task)?,
                    digest: needed(digest(&told.digest)?, "digest")?,
                    importers: hosts(&told.importers)?,
                }
            }
            Host::Left(name) => HostMessage::Left {
                task: task(&name.task)?,
            },
            Host::Blame(blame) => HostMessage::Blame {
                of: host(&blame.of)?,
            },
            Host::Doubt(doubt) => HostMessage::Doubt {
                of: host(&doubt.of)?,
                task: task(&doubt.task)?,
            },
            Host::Look(of) => HostMessage::Look {
                source: source(of)?,
            },
            Host::Looked(looked) => HostMessage::Looked {
                source: source(needed(looked.source, "source")?)?,
                found: looked.found.map(found).transpose()?,
            },
            Host::Ping(_) => HostMessage::Ping,
            Host::Goodbye(_) => HostMessage::Goodbye,
        };
        Ok(Self { sent, message })
    }
}

fn neighbour(neighbour: &proto::Neighbour) -> Checked<Neighbour> {
    let addresses = addresses(&neighbour.addresses)?;
    if addresses
        .iter()
        .any(|address| address.ip().is_unspecified())
    {
        return Err(Malformed("unspecified address"));
    }
    Ok(Neighbour {
        host: host(&neighbour.host)?,
        addresses,
        topology: topology(&neighbour.topology)?,
    })
}

fn neighbours(list: &[proto::Neighbour]) -> Checked<Vec<Neighbour>> {
    bounded(list, Introduce::HOSTS_MAX, "too many neighbours")?;
    list.iter().map(neighbour).collect()
}

fn term(term: Option<proto::Term>) -> Checked<Term> {
    let term = needed(term, "term")?;
    Ok(Term {
        counted_from: Moment(term.counted_from),
        valid_for: Duration::from_nanos(term.valid_for_ns),
        margin: Duration::from_nanos(term.margin_ns),
    })
}

fn refused(refused: &proto::Refused) -> Checked<SchedulerMessage> {
    use proto::refused::Cause;
    let name = if refused.task.is_empty() {
        None
    } else {
        Some(task(&refused.task)?)
    };
    let cause = match needed(refused.cause, "cause")? {
        Cause::TooManyRunning(_) => Refusal::TooManyRunning,
        Cause::TooManyHoldings(_) => Refusal::TooManyHoldings,
        Cause::TooFastNs(wait) => Refusal::TooFast {
            retry_after: Duration::from_nanos(wait),
        },
        Cause::TooManyHosts(_) => Refusal::TooManyHosts,
    };
    Ok(SchedulerMessage::Refused { task: name, cause })
}

fn grant(grant: &proto::Grant) -> Checked<SchedulerMessage> {
    let run = PieceRun {
        first: PieceIndex(grant.first),
        count: grant.count,
    };
    Ok(SchedulerMessage::Grant {
        task: task(&grant.task)?,
        lease: Lease {
            epoch: Epoch(grant.epoch),
            run,
            term: term(grant.term)?,
        },
    })
}

impl TryFrom<proto::SchedulerMessage> for SchedulerMessage {
    type Error = Malformed;

    fn try_from(message: proto::SchedulerMessage) -> Checked<Self> {
        Ok(match needed(message.kind, "message")? {
            Scheduler::Welcome(welcome) => Self::Welcome {
                cluster: welcome.cluster.parse().map_err(|_| Malformed("cluster"))?,
                instance: welcome.instance,
            },
            Scheduler::Queued(queued) => Self::Queued {
                task: task(&queued.task)?,
                layout: queued.layout.map(layout).transpose()?,
            },
            Scheduler::Refused(cause) => refused(&cause)?,
            Scheduler::Introduce(news) => Self::Introduce(Introduce {
                task: task(&news.task)?,
                reset: news.reset,
                add: neighbours(&news.add)?,
                remove: hosts(&news.remove)?,
            }),
            Scheduler::Grant(lease) => grant(&lease)?,
            Scheduler::Renew(renewed) => Self::Renew {
                task: task(&renewed.task)?,
                epoch: Epoch(renewed.epoch),
                term: term(renewed.term)?,
            },
            Scheduler::Revoke(lease) => Self::Revoke {
                task: task(&lease.task)?,
                epoch: Epoch(lease.epoch),
            },
            Scheduler::Fail(fail) => Self::Fail {
                task: task(&fail.task)?,
                cause: match fail.origin {
                    None => FailCause::NobodyCanImport,
                    Some(cause) => FailCause::Origin(failure(cause)?),
                },
            },
            Scheduler::Recruit(wanted) => Self::Recruit(Recruit {
                task: task(&wanted.task)?,
                source: source(needed(wanted.source, "source")?)?,
                layout: wanted.layout.map(layout).transpose()?,
                digest: digest(&wanted.digest)?,
                visibility: visibility(wanted.visibility)?,
            }),
            Scheduler::Look(of) => Self::Look {
                source: source(of)?,
            },
            Scheduler::Looked(looked) => Self::Looked {
                source: source(needed(looked.source, "source")?)?,
                found: found(needed(looked.found, "found")?)?,
            },
            Scheduler::Members(members) => Self::Members {
                seeds: neighbours(&members.seeds)?,
            },
            Scheduler::Importer(named) => Self::Importer {
                task: task(&named.task)?,
                host: host(&named.host)?,
            },
            Scheduler::Certificates(told) => {
                let list = told.certificates;
                bounded(&list, Self::CERTIFICATES_MAX, "too many certificates")?;
                for one in &list {
                    bounded(one, Self::CERTIFICATE_MAX, "a certificate is too long")?;
                }
                Self::Certificates(list)
            }
            Scheduler::Revocations(bytes) => {
                bounded(&bytes, REVOCATIONS_MAX, "revocations are too long")?;
                Self::Revocations(bytes)
            }
            Scheduler::Pong(pong) => Self::Pong {
                sent: Moment(pong.sent),
            },
        })
    }
}
