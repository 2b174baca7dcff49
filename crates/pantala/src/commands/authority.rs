//! The authority's folder, for the commands that work on it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use identity::ClusterCa;

use super::load;
use crate::{
    cli::AuthorityArgs,
    config::Endpoint,
    problem::{Exit, Problem},
};

/// An authority and its folder.
pub(super) struct Opened {
    pub(super) ca: ClusterCa,
    pub(super) dir: PathBuf,
}

/// The authority, and where its scheduler listens by the configuration. Only who `may_found` one may make one: a typing
/// error in a path must not.
pub(super) fn open(
    file: Option<PathBuf>,
    args: &AuthorityArgs,
    may_found: bool,
) -> Result<(Opened, Endpoint), Problem> {
    let is_named = args.ca_dir.is_some() && args.cluster.is_some();
    let config = match load(file, Vec::new()) {
        Ok(config) => config.scheduler,
        // Nothing of it is needed but a default.
        Err(_) if is_named => load(Some("/dev/null".into()), Vec::new())?.scheduler,
        Err(problem) => return Err(problem),
    };
    let dir = args.ca_dir.clone().unwrap_or(config.ca_dir);
    let cluster = args.cluster.clone().unwrap_or(config.cluster);
    if !may_found && !is_there(&dir) {
        let message = format!("there is no authority in {}", dir.display());
        return Err(Problem::new(Exit::Failed, message)
            .next("run this on the scheduler's host, or name the folder with --ca-dir"));
    }
    let opened = ClusterCa::load_or_create(&dir, &cluster);
    let ca = opened.map_err(|error| {
        Problem::of(
            Exit::Failed,
            "opening the cluster's authority failed",
            error,
        )
        .next("run this on the scheduler's host as its user, or name the folder with --ca-dir")
    })?;
    let ip = match config.listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let scheduler = Endpoint {
        host: ip.to_string(),
        port: config.listen.port(),
    };
    Ok((Opened { ca, dir }, scheduler))
}

/// Whether somebody keeps something there; what it is is for the authority to say.
fn is_there(dir: &Path) -> bool {
    std::fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_some()) && dir.exists()
}
