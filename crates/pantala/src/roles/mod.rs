//! From the checked configuration to running parts: the one place that knows what each part takes.

#![expect(
    dead_code,
    reason = "they are given to a daemon or scheduler where one starts"
)]

mod parts;
mod standing;

use gateway::local::{Access, Allowed};
use identity::{Identity, JoinToken, Role, Roles};
use tokio_util::sync::CancellationToken;

pub(crate) use self::standing::identity_dir;
use self::standing::{Standing, StandingError};
use crate::{
    config::Config,
    problem::{Exit, Problem},
};

/// Who may do what over the local socket.
pub(crate) fn access(config: &Config) -> Access {
    let mut access = Access::default();
    if let Allowed::Users(users) = &mut access.manage {
        users.extend(&config.local.manage_uids);
    }
    if !config.local.allow_uids.is_empty() {
        // Who may manage may read as well.
        let mut users = config.local.allow_uids.iter().copied().collect();
        if let Allowed::Users(managers) = &access.manage {
            users = &users | managers;
        }
        access.read = Allowed::Users(users);
    }
    access
}

/// Runs a daemon until `stop`.
pub(crate) async fn daemon(config: &Config, stop: CancellationToken) -> Result<(), Problem> {
    let identity = match standing::of_daemon(config).map_err(nobody)? {
        Standing::Member(identity) => identity,
        Standing::Joining(token) => join(config, token).await?,
    };
    run(parts::daemon(config, identity), stop).await
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

async fn run(config: daemon::config::Config, stop: CancellationToken) -> Result<(), Problem> {
    let daemon = daemon::Daemon::start(config).await.map_err(|error| {
        Problem::of(Exit::Failed, "starting the daemon failed", error)
            .next("`pantala doctor` looks at folders and ports")
    })?;
    daemon.until_stopped(stop).await;
    Ok(())
}

/// Runs a scheduler until `stop`.
pub(crate) async fn scheduler(config: &Config, stop: CancellationToken) -> Result<(), Problem> {
    let roles = Roles::default().with(Role::Scheduler);
    let (_authority, identity) = standing::of_scheduler(config, roles).map_err(nobody)?;
    absent("scheduler", (config, format!("{identity:?}")), stop)
}

/// Runs both until `stop`, as one host of the cluster that it holds the authority of.
pub(crate) async fn up(config: &Config, stop: CancellationToken) -> Result<(), Problem> {
    let (_authority, identity) = standing::of_scheduler(config, Roles::ALL).map_err(nobody)?;
    absent("daemon", (config, format!("{identity:?}")), stop)
}

fn nobody(error: StandingError) -> Problem {
    let next = error.next_step();
    Problem::of(Exit::Failed, "starting failed", error).next(next)
}

fn absent(part: &str, _: (&Config, String), _: CancellationToken) -> Result<(), Problem> {
    Err(Problem::new(
        Exit::Failed,
        format!("this build has no {part}"),
    ))
}
