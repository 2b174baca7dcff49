//! Ours into protobuf. Nothing can go wrong in this direction.

use std::{net::IpAddr, net::SocketAddr, time::Duration};

use types::{Digest, HostId, Layout, Source, TaskId, Validator, Visibility};

use crate::{
    Stamped,
    host_message::{
        Ask, CanImport, Found, Have, HostMessage, Inventory, Join, OriginFailure, Progress,
    },
    proto::{self, host_message::Kind as Host, scheduler_message::Kind as Scheduler},
    scheduler_message::{
        FailCause, Introduce, Neighbour, Recruit, Refusal, SchedulerMessage, Term,
    },
};

pub(crate) fn layout(layout: Layout) -> proto::Layout {
    proto::Layout {
        length: layout.length().0,
    }
}

fn digest(digest: Option<Digest>) -> String {
    digest.map(|digest| digest.to_string()).unwrap_or_default()
}

fn task_name(task: TaskId) -> proto::TaskName {
    let task = task.as_bytes().to_vec();
    proto::TaskName { task }
}

fn tasks(tasks: Vec<TaskId>) -> Vec<Vec<u8>> {
    tasks.iter().map(|task| task.as_bytes().to_vec()).collect()
}

fn hosts(hosts: Vec<HostId>) -> Vec<Vec<u8>> {
    hosts.iter().map(|host| host.as_bytes().to_vec()).collect()
}

/// Beyond 584 years a duration is as good as endless.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn address(address: SocketAddr) -> proto::Address {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let port = u32::from(address.port());
    proto::Address { ip, port }
}

fn source(source: Source) -> proto::Source {
    let kind = match source {
        Source::Url(url) => proto::source::Kind::Url(url),
        Source::Blob {
            registry,
            repository,
            digest,
        } => proto::source::Kind::Blob(proto::Blob {
            registry: registry.to_string(),
            repository: repository.to_string(),
            digest: digest.to_string(),
        }),
    };
    proto::Source { kind: Some(kind) }
}

fn visibility(visibility: Visibility) -> i32 {
    let visibility = match visibility {
        Visibility::Public => proto::Visibility::Public,
        Visibility::Private => proto::Visibility::Private,
    };
    visibility.into()
}

fn failure(failure: OriginFailure) -> i32 {
    let failure = match failure {
        OriginFailure::NotFound => proto::OriginFailure::NotFound,
        OriginFailure::Denied => proto::OriginFailure::Denied,
        OriginFailure::Forbidden => proto::OriginFailure::Forbidden,
        OriginFailure::Mismatch => proto::OriginFailure::Mismatch,
        OriginFailure::Unreachable => proto::OriginFailure::Unreachable,
        OriginFailure::Overloaded => proto::OriginFailure::Overloaded,
    };
    failure.into()
}

fn join(join: Join) -> proto::Join {
    proto::Join {
        topology: join.topology.to_string(),
        is_seed: join.is_seed,
        listen: join.listen.into_iter().map(address).collect(),
        capacity: u32::from(join.capacity),
        version: join.version,
    }
}

fn ask(ask: Ask) -> proto::Ask {
    let can_import = match ask.can_import {
        CanImport::No => proto::CanImport::No,
        CanImport::Anonymous => proto::CanImport::Anonymous,
        CanImport::Credentialed => proto::CanImport::Credentialed,
    };
    let have = match ask.have {
        Have::None => None,
        Have::Some(pieces) => Some(proto::have::Kind::Pieces(pieces)),
        Have::All => Some(proto::have::Kind::All(proto::Nothing {})),
    };
    proto::Ask {
        task: ask.task.as_bytes().to_vec(),
        source: ask.source.map(source),
        layout: ask.layout.map(layout),
        can_import: can_import.into(),
        have: Some(proto::Have { kind: have }),
        visibility: visibility(ask.visibility),
        digest: digest(ask.digest),
    }
}

fn looked(of: Source, found: Option<Found>) -> proto::Looked {
    use proto::found::Validator as Told;
    let found = found.map(|found| proto::Found {
        length: found.length.0,
        validator: found.validator.map(|validator| match validator {
            Validator::ETag(tag) => Told::Etag(tag),
            Validator::Modified { at, .. } => Told::Modified(at),
        }),
    });
    proto::Looked {
        source: Some(source(of)),
        found,
    }
}

fn inventory(inventory: Inventory) -> proto::Inventory {
    let claims = inventory.leases.iter().map(|claim| proto::LeaseClaim {
        task: claim.task.as_bytes().to_vec(),
        epoch: claim.epoch.0,
        remaining_ns: nanoseconds(claim.remaining),
    });
    proto::Inventory {
        leases: claims.collect(),
        running: inventory.running.into_iter().map(ask).collect(),
        holdings: tasks(inventory.holdings),
    }
}

fn progress(progress: Progress) -> proto::Progress {
    proto::Progress {
        task: progress.task.as_bytes().to_vec(),
        have: progress.have,
        lease: progress.lease.map(|epoch| epoch.0),
        imported: progress.imported,
        left: progress.left,
    }
}

impl From<Stamped> for proto::HostMessage {
    fn from(stamped: Stamped) -> Self {
        let kind = match stamped.message {
            HostMessage::Join(said) => Host::Join(join(said)),
            HostMessage::Inventory(told) => Host::Inventory(inventory(told)),
            HostMessage::Ask(asked) => Host::Ask(ask(asked)),
            HostMessage::Progress(made) => Host::Progress(progress(made)),
            HostMessage::Resolved { task, layout: is } => Host::Resolved(proto::Resolved {
                task: task.as_bytes().to_vec(),
                layout: Some(layout(is)),
            }),
            HostMessage::LeaseFailed(failed) => Host::LeaseFailed(proto::LeaseFailed {
                task: failed.task.as_bytes().to_vec(),
                epoch: failed.epoch.0,
                cause: failure(failed.cause),
                permanent: failed.permanent,
            }),
            HostMessage::LeaseReturned { task, epoch } => Host::LeaseReturned(proto::LeaseName {
                task: task.as_bytes().to_vec(),
                epoch: epoch.0,
            }),
            HostMessage::Holdings { added, removed } => Host::Holdings(proto::Holdings {
                added: tasks(added),
                removed: tasks(removed),
            }),
            HostMessage::Vouchers {
                task,
                digest: of,
                importers,
            } => Host::Vouchers(proto::Vouchers {
                task: task.as_bytes().to_vec(),
                digest: digest(Some(of)),
                importers: hosts(importers),
            }),
            HostMessage::Left { task } => Host::Left(task_name(task)),
            HostMessage::Blame { of } => Host::Blame(proto::Blame {
                of: of.as_bytes().to_vec(),
            }),
            HostMessage::Doubt { of, task } => Host::Doubt(proto::Doubt {
                of: of.as_bytes().to_vec(),
                task: task.as_bytes().to_vec(),
            }),
            HostMessage::Look { source: of } => Host::Look(source(of)),
            HostMessage::Looked { source, found } => Host::Looked(looked(source, found)),
            HostMessage::Ping => Host::Ping(proto::Nothing {}),
            HostMessage::Goodbye => Host::Goodbye(proto::Nothing {}),
        };
        Self {
            sent: stamped.sent.0,
            kind: Some(kind),
        }
    }
}

fn neighbour(neighbour: Neighbour) -> proto::Neighbour {
    proto::Neighbour {
        host: neighbour.host.as_bytes().to_vec(),
        addresses: neighbour.addresses.into_iter().map(address).collect(),
        topology: neighbour.topology.to_string(),
    }
}

fn introduce(introduce: Introduce) -> proto::Introduce {
    proto::Introduce {
        task: introduce.task.as_bytes().to_vec(),
        reset: introduce.reset,
        add: introduce.add.into_iter().map(neighbour).collect(),
        remove: hosts(introduce.remove),
    }
}

fn term(term: Term) -> proto::Term {
    proto::Term {
        counted_from: term.counted_from.0,
        valid_for_ns: nanoseconds(term.valid_for),
        margin_ns: nanoseconds(term.margin),
    }
}

fn refused(task: Option<TaskId>, cause: Refusal) -> proto::Refused {
    use proto::refused::Cause;
    let nothing = proto::Nothing {};
    let cause = match cause {
        Refusal::TooManyRunning => Cause::TooManyRunning(nothing),
        Refusal::TooManyHoldings => Cause::TooManyHoldings(nothing),
        Refusal::TooFast { retry_after } => Cause::TooFastNs(nanoseconds(retry_after)),
        Refusal::TooManyHosts => Cause::TooManyHosts(nothing),
    };
    proto::Refused {
        task: task.map_or_else(Vec::new, |task| task.as_bytes().to_vec()),
        cause: Some(cause),
    }
}

fn recruit(recruit: Recruit) -> proto::Recruit {
    proto::Recruit {
        task: recruit.task.as_bytes().to_vec(),
        source: Some(source(recruit.source)),
        layout: recruit.layout.map(layout),
        digest: digest(recruit.digest),
        visibility: visibility(recruit.visibility),
    }
}

impl From<SchedulerMessage> for proto::SchedulerMessage {
    fn from(message: SchedulerMessage) -> Self {
        let name = |task: TaskId| task.as_bytes().to_vec();
        let kind = match message {
            SchedulerMessage::Welcome { cluster, instance } => Scheduler::Welcome(proto::Welcome {
                cluster: cluster.to_string(),
                instance,
            }),
            SchedulerMessage::Queued { task, layout: is } => Scheduler::Queued(proto::Queued {
                task: name(task),
                layout: is.map(layout),
            }),
            SchedulerMessage::Refused { task, cause } => Scheduler::Refused(refused(task, cause)),
            SchedulerMessage::Introduce(news) => Scheduler::Introduce(introduce(news)),
            SchedulerMessage::Grant { task, lease } => Scheduler::Grant(proto::Grant {
                task: name(task),
                epoch: lease.epoch.0,
                first: lease.run.first.0,
                count: lease.run.count,
                term: Some(term(lease.term)),
            }),
            SchedulerMessage::Renew {
                task,
                epoch,
                term: new,
            } => Scheduler::Renew(proto::Renewed {
                task: name(task),
                epoch: epoch.0,
                term: Some(term(new)),
            }),
            SchedulerMessage::Revoke { task, epoch } => Scheduler::Revoke(proto::LeaseName {
                task: name(task),
                epoch: epoch.0,
            }),
            SchedulerMessage::Fail { task, cause } => Scheduler::Fail(proto::Fail {
                task: name(task),
                origin: match cause {
                    FailCause::NobodyCanImport => None,
                    FailCause::Origin(cause) => Some(failure(cause)),
                },
            }),
            SchedulerMessage::Recruit(wanted) => Scheduler::Recruit(recruit(wanted)),
            SchedulerMessage::Look { source: of } => Scheduler::Look(source(of)),
            SchedulerMessage::Looked { source, found } => {
                Scheduler::Looked(looked(source, Some(found)))
            }
            SchedulerMessage::Members { seeds } => Scheduler::Members(proto::Members {
                seeds: seeds.into_iter().map(neighbour).collect(),
            }),
            SchedulerMessage::Importer { task, host } => Scheduler::Importer(proto::Importer {
                task: name(task),
                host: host.as_bytes().to_vec(),
            }),
            SchedulerMessage::Certificates(certificates) => {
                Scheduler::Certificates(proto::Certificates { certificates })
            }
            SchedulerMessage::Revocations(bytes) => Scheduler::Revocations(bytes),
            SchedulerMessage::Pong { sent } => Scheduler::Pong(proto::Pong { sent: sent.0 }),
        };
        Self { kind: Some(kind) }
    }
}
