//! From the checked configuration to running parts: the one place that knows what each part takes.

mod parts;
mod standing;
mod vitals;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use gateway::admin::Admin;
use identity::{Identity, JoinToken, Role, Roles};
use scheduler::{Scheduler, SchedulerConfig};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use self::standing::identity_dir;
use self::{
    standing::{Standing, StandingError},
    vitals::SchedulerVitals,
};
use crate::{
    config::Config,
    problem::{Exit, Problem},
};

/// Runs a daemon until `stop`.
pub(crate) async fn daemon(config: &Config, stop: CancellationToken) -> Result<(), Problem> {
    let identity = match standing::of_daemon(config).map_err(nobody)? {
        Standing::Member(identity) => identity,
        Standing::Joining(token) => join(config, token).await?,
    };
    run(
        parts::daemon(config, identity),
        (stop, config.host.stop_timeout),
    )
    .await
}

/// Asks the configured schedulers for a certificate, until one gives it or says no.
async fn join(config: &Config, token: JoinToken) -> Result<Identity, Problem> {
    let schedulers: Vec<String> = config
        .control
        .schedulers
        .iter()
        .map(ToString::to_string)
        .collect();
    let joined = daemon::join(&identity_dir(config), token, &schedulers).await;
    joined.map_err(|error| {
        Problem::of(Exit::Failed, "joining the cluster failed", error)
            .next("check the token (`pantala token list` on the scheduler's host) and that the scheduler can be reached (`pantala doctor`)")
    })
}

async fn run(
    config: daemon::config::Config,
    (stop, patience): (CancellationToken, Duration),
) -> Result<(), Problem> {
    let daemon = daemon::Daemon::start(config).await.map_err(|error| {
        Problem::of(Exit::Failed, "starting the daemon failed", error)
            .next("`pantala doctor` looks at folders and ports")
    })?;
    daemon.until_stopped(stop, patience).await;
    Ok(())
}

async fn begin(config: &Config) -> Result<Scheduler, Problem> {
    let section = &config.scheduler;
    let scheduler = SchedulerConfig::new(
        section.ca_dir.clone(),
        section.cluster.clone(),
        section.listen,
    );
    let started = Scheduler::start(scheduler).await;
    started.map_err(|error| {
        Problem::of(Exit::Failed, "starting the scheduler failed", error)
            .next("`pantala doctor` looks at folders and ports")
    })
}

/// Runs a scheduler until `stop`.
pub(crate) async fn scheduler(config: &Config, stop: CancellationToken) -> Result<(), Problem> {
    let scheduler = begin(config).await?;
    let mut doors = JoinSet::new();
    if let Some(status) = config.scheduler.status {
        let listener = gateway::bind(status).await.map_err(|error| {
            Problem::of(
                Exit::Failed,
                "opening the scheduler's status page failed",
                error,
            )
            .next("choose another scheduler.status, or \"off\"")
        })?;
        let vitals = Arc::new(SchedulerVitals::new(&scheduler));
        doors.spawn(Admin::new(vitals).serve(
            listener,
            gateway::Limits::default(),
            stop.child_token(),
        ));
    }
    stop.cancelled().await;
    while doors.join_next().await.is_some() {}
    scheduler.stop().await;
    Ok(())
}

/// Runs both until `stop`: a scheduler, and a daemon that is a seed of its cluster.
pub(crate) async fn up(config: &Config, stop: CancellationToken) -> Result<(), Problem> {
    let scheduler = begin(config).await?;
    let roles = Roles::default().with(Role::Daemon).with(Role::Seed);
    let identity = standing::of_member(config, (scheduler.authority(), roles)).map_err(nobody)?;
    let mut parts = parts::daemon(config, identity);
    parts.is_seed = true;
    parts.schedulers =
        vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), scheduler.address().port()).to_string()];
    let ran = run(parts, (stop, config.host.stop_timeout)).await;
    scheduler.stop().await;
    ran
}

fn nobody(error: StandingError) -> Problem {
    let next = error.next_step();
    Problem::of(Exit::Failed, "starting failed", error).next(next)
}
