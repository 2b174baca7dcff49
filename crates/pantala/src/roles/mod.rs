//! From the checked configuration to running parts: the one place that knows what each part takes.

mod data_dir;
mod parts;
pub(crate) mod reach;
mod standing;
mod vitals;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::SystemTime,
};

use daemon::{Health, Joining};
use gateway::admin::Admin;
use identity::{Identity, JoinToken, Role, Roles};
use scheduler::{Scheduler, SchedulerConfig};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use self::{
    parts::{interception_dir, origin},
    standing::identity_dir,
    vitals::SchedulerVitals,
};
use self::{
    standing::{Standing, StandingError},
    vitals::JoiningVitals,
};
use crate::{
    config::Config,
    engines::EngineKeeper,
    problem::{Exit, Problem},
    watchdog::Pulse,
};

/// Runs a daemon until `stop`.
pub(crate) async fn daemon(
    config: &Config,
    pulse: &Pulse,
    stop: CancellationToken,
) -> Result<(), Problem> {
    let identity = match standing::of_daemon(config).map_err(nobody)? {
        Standing::Member(identity) => identity,
        Standing::Joining(token) => match join(config, token, &stop).await? {
            Some(identity) => identity,
            None => return Ok(()),
        },
    };
    run(config, (parts::daemon(config, identity), pulse), stop).await
}

/// Asks the configured schedulers for a certificate until one gives it or says no; none if stopped before. Meanwhile the
/// status page tells what is missing.
async fn join(
    config: &Config,
    token: JoinToken,
    stop: &CancellationToken,
) -> Result<Option<Identity>, Problem> {
    let schedulers = config.control.schedulers.iter();
    let health = Health::default();
    let joining = Joining {
        dir: identity_dir(config),
        token,
        schedulers: schedulers.map(ToString::to_string).collect(),
        health: health.clone(),
        seed: u64::from(std::process::id()) ^ since_1970(),
    };
    let (mut page, page_stop) = (JoinSet::new(), stop.child_token());
    if let Some(status) = config.status {
        let listener = gateway::bind(status).await.map_err(|error| {
            Problem::of(Exit::Failed, "opening the status page failed", error)
                .next("choose another status.listen, or \"off\"")
        })?;
        let admin = Admin::new(Arc::new(JoiningVitals(health)));
        page.spawn(admin.serve(listener, page_limits(config), page_stop.clone()));
    }
    let joined = tokio::select! {
        () = stop.cancelled() => None,
        joined = joining.join() => Some(joined),
    };
    // Its port is the daemon's from now on.
    page_stop.cancel();
    while page.join_next().await.is_some() {}
    joined.transpose().map_err(|error| {
        Problem::of(Exit::Failed, "joining the cluster failed", error)
            .next("check the token (`pantala token list` on the scheduler's host) and the clocks of both hosts")
    })
}

fn page_limits(config: &Config) -> gateway::Limits {
    gateway::Limits {
        names: config.host.names.iter().cloned().collect(),
        ..gateway::Limits::default()
    }
}

fn since_1970() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or_default()
}

async fn run(
    config: &Config,
    (parts, pulse): (daemon::config::Config, &Pulse),
    stop: CancellationToken,
) -> Result<(), Problem> {
    let engines = EngineKeeper::of(config)?;
    let daemon = daemon::Daemon::start(parts).await.map_err(|error| {
        Problem::of(Exit::Failed, "starting the daemon failed", error)
            .next("`pantala doctor` looks at folders and ports")
    })?;
    pulse.is_of(daemon.handle().clone());
    // Engines leave the mirror before its door closes.
    let (stop, leave) = (stop.child_token(), CancellationToken::new());
    let manage = async {
        match &engines {
            Some(engines) => engines.run(&stop).await,
            None => stop.cancelled().await,
        }
        leave.cancel();
    };
    let serve = async {
        let ran = daemon.until_stopped(leave.clone(), config.host.stop_timeout);
        let ran = ran.await;
        stop.cancel();
        ran
    };
    let (ran, ()) = tokio::join!(serve, manage);
    ran.map_err(|error| {
        Problem::of(Exit::Failed, "a part of the daemon is gone", error)
            .next("start it again; the lines before this one in its log are worth a report")
    })
}

/// `own`: where a daemon of this process says that it stands.
async fn begin(config: &Config, own: Option<SocketAddr>) -> Result<Scheduler, Problem> {
    let section = &config.scheduler;
    let scheduler = SchedulerConfig {
        may_advertise: parts::may_advertise(config, own),
        certificate_lifetime: section.certificate_lifetime,
        expiry_grace: config.control.expiry_grace,
        ..SchedulerConfig::new(
            section.ca_dir.clone(),
            section.cluster.clone(),
            section.listen,
        )
    };
    let started = Scheduler::start(scheduler).await;
    started.map_err(|error| {
        Problem::of(Exit::Failed, "starting the scheduler failed", error)
            .next("`pantala doctor` looks at folders and ports")
    })
}

/// Runs a scheduler until `stop`.
pub(crate) async fn scheduler(config: &Config, stop: CancellationToken) -> Result<(), Problem> {
    let mut scheduler = begin(config, None).await?;
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
        let vitals = Arc::new(SchedulerVitals::new(scheduler.metrics()));
        doors.spawn(Admin::new(vitals).serve(listener, page_limits(config), stop.child_token()));
    }
    let early = tokio::select! {
        () = stop.cancelled() => None,
        early = scheduler.ended() => Some(gone(early)),
    };
    stop.cancel();
    while doors.join_next().await.is_some() {}
    scheduler.stop().await;
    early.map_or(Ok(()), Err)
}

fn gone(error: scheduler::EndedEarly) -> Problem {
    Problem::of(Exit::Failed, "a part of the scheduler is gone", error)
        .next("start it again; the lines before this one in its log are worth a report")
}

/// Runs both until `stop`: a scheduler, and a daemon that is a seed of its cluster.
pub(crate) async fn up(
    config: &Config,
    pulse: &Pulse,
    stop: CancellationToken,
) -> Result<(), Problem> {
    let mut scheduler = begin(config, config.peer.advertise).await?;
    let roles = Roles::default().with(Role::Daemon).with(Role::Seed);
    let identity = standing::of_member(config, (scheduler.authority(), roles)).map_err(nobody)?;
    let mut parts = parts::daemon(config, identity);
    parts.is_seed = true;
    (parts.metrics).beside(|registry| scheduler.metrics().register(registry));
    parts.started.command = "up".into();
    parts.schedulers =
        vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), scheduler.address().port()).to_string()];
    let ran = run(config, (parts, pulse), stop.clone());
    tokio::pin!(ran);
    let (ran, early) = tokio::select! {
        ran = &mut ran => (ran, None),
        early = scheduler.ended() => {
            stop.cancel();
            (ran.await, Some(gone(early)))
        }
    };
    scheduler.stop().await;
    early.map_or(ran, Err)
}

fn nobody(error: StandingError) -> Problem {
    let next = error.next_step();
    Problem::of(Exit::Failed, "starting failed", error).next(next)
}
