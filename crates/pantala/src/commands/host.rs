//! `pantala host`: who belongs to the cluster, and throwing somebody out. On the authority's folder, like `pantala token`:
//! with and without a running scheduler, which watches that folder and acts at once.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use control::{ControlClient, HostView};
use identity::{Callee, ClusterCa, Links, NodeKey, Protocol, Role, Roles};
use serde::Serialize;
use tokio::time::timeout;
use types::HostId;

use super::{authority, block_on};
use crate::{
    cli::{AuthorityArgs, HostCommand},
    config::Endpoint,
    dial::{PATIENCE, try_reach},
    problem::{Exit, Problem},
    show,
};

/// Where the scheduler's own key lies in the authority's folder.
const OWN: &str = "host";

/// How a host stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Standing {
    Connected,
    Revoked,
}

#[derive(Serialize)]
struct Row {
    host: String,
    standing: Standing,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
    is_seed: bool,
    addresses: Vec<String>,
    running: u32,
    holdings: u32,
}

pub(super) fn run(file: Option<PathBuf>, command: HostCommand) -> Result<(), Problem> {
    match command {
        HostCommand::List {
            scheduler,
            authority: args,
        } => {
            let (authority, at) = authority::open(file, &args, false)?;
            list(&authority, (scheduler.unwrap_or(at), &args))
        }
        HostCommand::Revoke {
            host,
            authority: args,
        } => {
            let (authority, _) = authority::open(file, &args, false)?;
            revoke(&authority, host, &args)
        }
    }
}

fn revoke(
    authority: &authority::Opened,
    host: HostId,
    args: &AuthorityArgs,
) -> Result<(), Problem> {
    if own_key(&authority.dir)?.is_some_and(|key| key.host_id() == host) {
        let message = "this is the scheduler itself: without it nobody could renew or join";
        return Err(Problem::new(Exit::Usage, message).next(
            "if its key is lost to somebody, found a new cluster: the authority lies beside it",
        ));
    }
    let failed =
        |error| Problem::of(Exit::Failed, "revoking the host failed", error).next(authority::NEXT);
    let was_out = revoked(&authority.ca)?.iter().any(|(out, _)| *out == host);
    let list = authority.ca.revoke(host, SystemTime::now());
    let list = list.map_err(|error| failed(anyhow::Error::from(error)))?;
    if args.json {
        let done = serde_json::json!({
            "revoked": host.to_string(),
            "was_revoked": was_out,
            "list": list.number(),
        });
        return show::print(&show::json(&done));
    }
    let how = if was_out {
        "was revoked before"
    } else {
        "is revoked"
    };
    show::print(&format!("host {host} {how}\n"))?;
    eprintln!(
        "A running scheduler drops it now and tells everybody; hosts that cannot hear it refuse the host once another host\n\
         tells them, or when its certificate ends. Its key never gets a certificate again."
    );
    Ok(())
}

fn list(
    authority: &authority::Opened,
    (scheduler, args): (Endpoint, &AuthorityArgs),
) -> Result<(), Problem> {
    let mut rows: Vec<Row> = match connected(authority, &scheduler) {
        Ok(hosts) => hosts.iter().map(of_connected).collect(),
        Err(error) => {
            eprintln!(
                "warning: no scheduler tells at {scheduler} who is connected: {error:#}\n  \
                 next: start it, or name it with --scheduler"
            );
            Vec::new()
        }
    };
    rows.extend(revoked(&authority.ca)?.iter().map(of_revoked));
    show::list(&rows, args.json, table)
}

/// Who has a stream to the scheduler at `at`.
fn connected(authority: &authority::Opened, at: &Endpoint) -> Result<Vec<HostView>, anyhow::Error> {
    let Some(key) =
        own_key(&authority.dir).map_err(|_| anyhow::anyhow!("its key cannot be read"))?
    else {
        anyhow::bail!("no scheduler ever ran on this folder");
    };
    let roles = Roles::from(Role::Scheduler);
    let identity = authority.ca.identity_for(&key, roles, SystemTime::now())?;
    let links = Links::new(identity);
    let asked = async {
        let tcp = try_reach(&at.host, at.port).await?;
        let link = links
            .connect(tcp, Callee::Scheduler, Protocol::Control)
            .await?;
        let client = ControlClient::connect(link).await?;
        Ok::<_, anyhow::Error>(client.view_hosts().await?)
    };
    let answer = block_on(async { Ok(timeout(PATIENCE, asked).await) });
    match answer {
        Ok(Ok(hosts)) => hosts,
        Ok(Err(_)) | Err(_) => anyhow::bail!("it does not answer in time"),
    }
}

/// The scheduler's own key, if it ever ran on this folder.
fn own_key(dir: &Path) -> Result<Option<NodeKey>, Problem> {
    let dir = dir.join(OWN);
    if !dir.exists() {
        return Ok(None);
    }
    let key = NodeKey::load_or_create(&dir);
    let key = key.map_err(|error| {
        Problem::of(
            Exit::Failed,
            "reading the scheduler's own key failed",
            error,
        )
        .next("run this on the scheduler's host as its user")
    })?;
    Ok(Some(key))
}

fn revoked(ca: &ClusterCa) -> Result<Vec<(HostId, SystemTime)>, Problem> {
    let revoked = ca.revoked();
    revoked.map_err(|error| {
        Problem::of(Exit::Failed, "reading the revocations failed", error).next(authority::NEXT)
    })
}

fn of_connected(view: &HostView) -> Row {
    Row {
        host: view.host.to_string(),
        standing: Standing::Connected,
        revoked_at: None,
        is_seed: view.is_seed,
        addresses: view.addresses.iter().map(ToString::to_string).collect(),
        running: view.running,
        holdings: view.holdings,
    }
}

fn of_revoked((host, at): &(HostId, SystemTime)) -> Row {
    Row {
        host: host.to_string(),
        standing: Standing::Revoked,
        revoked_at: jiff::Timestamp::try_from(*at).ok().map(|at| at.to_string()),
        is_seed: false,
        addresses: Vec::new(),
        running: 0,
        holdings: 0,
    }
}

fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no host is connected, and none was revoked\n".to_owned();
    }
    let rows = rows.iter().map(|row| {
        let standing = match (&row.standing, &row.revoked_at) {
            (Standing::Connected, _) => "connected".to_owned(),
            (Standing::Revoked, at) => format!("revoked {}", at.as_deref().unwrap_or_default()),
        };
        vec![
            row.host.clone(),
            standing,
            if row.is_seed { "seed" } else { "" }.to_owned(),
            row.addresses.join(" "),
            row.running.to_string(),
            row.holdings.to_string(),
        ]
    });
    let head = ["HOST", "STANDING", "SEED", "ADDRESS", "RUNNING", "HOLDS"];
    show::table(&head, &[4, 5], rows.collect())
}
