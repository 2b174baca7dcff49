//! The authority's folder, for the commands that work on it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use identity::ClusterCa;

use super::{block_on, load, running::Running};
use crate::{
    cli::AuthorityArgs,
    config::{Config, Endpoint},
    problem::{Exit, Problem},
};

/// What to do when the authority's folder does not do what it should.
pub(super) const NEXT: &str =
    "run this on the scheduler's host as its user, or name the folder with --ca-dir";

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
    let config = config(file, args)?;
    let stated = config.stated("scheduler.cluster").is_some();
    let asked = args.cluster.clone();
    let asked = asked.or_else(|| stated.then(|| config.scheduler.cluster.clone()));
    let section = config.scheduler;
    let dir = args.ca_dir.clone().unwrap_or(section.ca_dir);
    if !may_found && !is_there(&dir) {
        let message = format!("there is no authority in {}", dir.display());
        return Err(Problem::new(Exit::Failed, message)
            .next("run this on the scheduler's host, or name the folder with --ca-dir"));
    }
    let failed = |error| {
        Problem::of(
            Exit::Failed,
            "opening the cluster's authority failed",
            error,
        )
        .next(NEXT)
    };
    // An authority is of one cluster: whoever names its folder need not name that, too.
    let cluster = match asked {
        Some(cluster) => cluster,
        None => ClusterCa::cluster_in(&dir)
            .map_err(failed)?
            .unwrap_or(section.cluster),
    };
    let ca = ClusterCa::load_or_create(&dir, &cluster).map_err(failed)?;
    let ip = match section.listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let scheduler = Endpoint {
        host: ip.to_string(),
        port: section.listen.port(),
    };
    Ok((Opened { ca, dir }, scheduler))
}

/// The configuration of this command, or of the `pantala up` that runs here if this one says nothing of an authority.
fn config(file: Option<PathBuf>, args: &AuthorityArgs) -> Result<Config, Problem> {
    let config = match load(file, Vec::new()) {
        Ok(config) => config,
        // Nothing of it is needed but a default.
        Err(_) if args.ca_dir.is_some() => return load(Some("/dev/null".into()), Vec::new()),
        Err(problem) => return Err(problem),
    };
    if args.ca_dir.is_some() || config.stated("scheduler.ca_dir").is_some() {
        return Ok(config);
    }
    let running = block_on(async { Ok(Running::find(&config.local.socket).await) })?;
    let running = running.filter(Running::is_up);
    Ok(running.and_then(|up| up.config()).unwrap_or(config))
}

/// Whether somebody keeps something there; what it is is for the authority to say.
fn is_there(dir: &Path) -> bool {
    std::fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_some()) && dir.exists()
}
