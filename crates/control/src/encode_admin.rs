//! Administrators' answers, into protobuf and back.

use crate::{
    admin::{EnrolAnswer, HostView},
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
