//! Between the words of the wire and the words of the brain.

use control::{self as wire, HostMessage, SchedulerMessage};
use swarm::schedule::{self as brain, Event};
use types::HostId;

pub(crate) fn ask(ask: &wire::Ask) -> brain::Ask {
    brain::Ask {
        task: ask.task,
        by_digest: (ask.digest).is_some_and(|digest| digest.names(&ask.task, ask.source.as_ref())),
        can_import: match ask.can_import {
            wire::CanImport::No => brain::CanImport::No,
            wire::CanImport::Anonymous => brain::CanImport::Anonymous,
            wire::CanImport::Credentialed => brain::CanImport::Credentialed,
        },
        have: match ask.have {
            wire::Have::None => brain::Have::None,
            wire::Have::Some(pieces) => brain::Have::Some(pieces),
            wire::Have::All => brain::Have::All,
        },
        visibility: ask.visibility,
        layout: ask.layout,
    }
}

fn inventory(host: HostId, told: &wire::Inventory) -> brain::Inventory {
    let claims = told.leases.iter().map(|claim| brain::LeaseClaim {
        task: claim.task,
        epoch: claim.epoch,
        remaining: claim.remaining,
    });
    brain::Inventory {
        host,
        leases: claims.collect(),
        running: told.running.iter().map(ask).collect(),
        holdings: told.holdings.clone(),
    }
}

/// The event that a message is; none for those that only show that the host lives, and for a join, which needs more.
pub(crate) fn event(host: HostId, message: &HostMessage) -> Option<Event> {
    Some(match message {
        HostMessage::Join(_)
        | HostMessage::Ping
        | HostMessage::Look { .. }
        | HostMessage::Looked { .. }
        | HostMessage::Vouchers { .. } => return None,
        HostMessage::Inventory(told) => Event::Inventory(inventory(host, told)),
        HostMessage::Ask(asked) => Event::Ask {
            host,
            ask: ask(asked),
        },
        HostMessage::Progress(made) => Event::Progress(brain::Progress {
            host,
            task: made.task,
            have: made.have,
            lease: made.lease,
            imported: made.imported,
            left: made.left,
        }),
        HostMessage::Resolved { task, layout } => Event::Resolved {
            host,
            task: *task,
            layout: *layout,
        },
        HostMessage::LeaseFailed(failed) => Event::LeaseFailed(brain::LeaseFailed {
            host,
            task: failed.task,
            epoch: failed.epoch,
            cause: failure(failed.cause),
            permanent: failed.permanent,
        }),
        HostMessage::LeaseReturned { task, epoch } => Event::LeaseReturned(brain::LeaseReturned {
            host,
            task: *task,
            epoch: *epoch,
        }),
        HostMessage::Holdings { added, removed } => Event::Holdings(brain::Holdings {
            host,
            added: added.clone(),
            removed: removed.clone(),
        }),
        HostMessage::Left { task } => Event::Left { host, task: *task },
        HostMessage::Blame { of } => Event::Blame(brain::Blame { by: host, of: *of }),
        HostMessage::Doubt { of, task } => Event::Doubt(brain::Doubt {
            by: host,
            of: *of,
            task: *task,
        }),
        HostMessage::Goodbye => Event::Goodbye { host },
    })
}

fn failure(cause: wire::OriginFailure) -> brain::OriginFailure {
    match cause {
        wire::OriginFailure::NotFound => brain::OriginFailure::NotFound,
        wire::OriginFailure::Denied => brain::OriginFailure::Denied,
        wire::OriginFailure::Forbidden => brain::OriginFailure::Forbidden,
        wire::OriginFailure::Mismatch => brain::OriginFailure::Mismatch,
        wire::OriginFailure::Unreachable => brain::OriginFailure::Unreachable,
        wire::OriginFailure::Overloaded => brain::OriginFailure::Overloaded,
    }
}

fn failure_told(cause: brain::OriginFailure) -> wire::OriginFailure {
    match cause {
        brain::OriginFailure::NotFound => wire::OriginFailure::NotFound,
        brain::OriginFailure::Denied => wire::OriginFailure::Denied,
        brain::OriginFailure::Forbidden => wire::OriginFailure::Forbidden,
        brain::OriginFailure::Mismatch => wire::OriginFailure::Mismatch,
        brain::OriginFailure::Unreachable => wire::OriginFailure::Unreachable,
        brain::OriginFailure::Overloaded => wire::OriginFailure::Overloaded,
    }
}

pub(crate) fn term(term: brain::Term) -> wire::Term {
    wire::Term {
        counted_from: term.counted_from,
        valid_for: term.valid_for,
        margin: term.margin,
    }
}

pub(crate) fn lease(lease: brain::Lease) -> wire::Lease {
    wire::Lease {
        epoch: lease.epoch,
        run: lease.run,
        term: term(lease.term),
    }
}

pub(crate) fn fail(cause: brain::FailCause) -> wire::FailCause {
    match cause {
        brain::FailCause::NobodyCanImport => wire::FailCause::NobodyCanImport,
        brain::FailCause::Origin(cause) => wire::FailCause::Origin(failure_told(cause)),
    }
}

pub(crate) fn refusal(task: Option<types::TaskId>, cause: brain::Refusal) -> SchedulerMessage {
    let cause = match cause {
        brain::Refusal::TooManyRunning => wire::Refusal::TooManyRunning,
        brain::Refusal::TooManyHoldings => wire::Refusal::TooManyHoldings,
        brain::Refusal::TooFast { retry_after } => wire::Refusal::TooFast { retry_after },
        brain::Refusal::TooManyHosts => wire::Refusal::TooManyHosts,
    };
    SchedulerMessage::Refused { task, cause }
}
