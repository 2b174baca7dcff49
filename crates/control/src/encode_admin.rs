//! Administrators' answers, into protobuf and back.

use std::time::Duration;

use types::Epoch;

use crate::{
    admin::{EnrolAnswer, HostView, TaskMember, TaskView, Token},
    decode::{self, Malformed},
    encode, proto,
};

impl From<EnrolAnswer> for proto::EnrolAnswer {
    fn from(answer: EnrolAnswer) -> Self {
        Self {
            certificate: answer.certificate,
            authority: answer.authority,
            revocations: answer.revocations,
        }
    }
}

impl From<proto::EnrolAnswer> for EnrolAnswer {
    fn from(answer: proto::EnrolAnswer) -> Self {
        Self {
            certificate: answer.certificate,
            authority: answer.authority,
            revocations: answer.revocations,
        }
    }
}

pub(crate) fn token(token: Token) -> proto::Token {
    proto::Token {
        id: token.id,
        role: token.role,
        uses_left: token.uses_left,
        expires_at_seconds: token.expires_at.as_secs(),
    }
}

pub(crate) fn token_of(token: proto::Token) -> Token {
    Token {
        id: token.id,
        role: token.role,
        uses_left: token.uses_left,
        expires_at: Duration::from_secs(token.expires_at_seconds),
    }
}

pub(crate) fn task_view(view: TaskView) -> proto::TaskView {
    let members = view.members.iter().map(|member| proto::TaskMember {
        host: member.host.as_bytes().to_vec(),
        have: member.have,
        is_complete: member.is_complete,
        neighbours: member.neighbours,
    });
    let (importer, epoch) = view.importer.map_or((Vec::new(), 0), |(host, epoch)| {
        (host.as_bytes().to_vec(), epoch.0)
    });
    proto::TaskView {
        task: view.task.as_bytes().to_vec(),
        layout: view.layout.map(encode::layout),
        members: members.collect(),
        importer,
        epoch,
    }
}

pub(crate) fn task_view_of(view: proto::TaskView) -> Result<TaskView, Malformed> {
    let members = view.members.iter().map(|member| {
        Ok(TaskMember {
            host: decode::host(&member.host)?,
            have: member.have,
            is_complete: member.is_complete,
            neighbours: member.neighbours,
        })
    });
    Ok(TaskView {
        task: decode::task(&view.task)?,
        layout: view.layout.map(decode::layout).transpose()?,
        members: members.collect::<Result<_, _>>()?,
        importer: if view.importer.is_empty() {
            None
        } else {
            Some((decode::host(&view.importer)?, Epoch(view.epoch)))
        },
    })
}

pub(crate) fn host_view(view: HostView) -> proto::HostView {
    proto::HostView {
        host: view.host.as_bytes().to_vec(),
        topology: view.topology.to_string(),
        is_seed: view.is_seed,
        running: view.running,
        holdings: view.holdings,
        is_low: view.is_low,
        addresses: view.addresses.into_iter().map(encode::address).collect(),
    }
}

pub(crate) fn host_view_of(view: &proto::HostView) -> Result<HostView, Malformed> {
    Ok(HostView {
        host: decode::host(&view.host)?,
        topology: decode::topology(&view.topology)?,
        is_seed: view.is_seed,
        running: view.running,
        holdings: view.holdings,
        is_low: view.is_low,
        addresses: decode::addresses_or_none(&view.addresses)?,
    })
}
