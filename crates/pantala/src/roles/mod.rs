//! From the checked configuration to running parts: the one place that knows what each part takes.

#![expect(
    dead_code,
    reason = "they are given to a daemon or scheduler where one starts"
)]

mod standing;

use gateway::{
    local::{Access, Allowed},
    mirror::Registries,
};
use identity::{Role, Roles};
use origin::{Budget, OriginConfig, Patience};
use store::StoreConfig;
use tokio_util::sync::CancellationToken;

use self::standing::StandingError;
pub(crate) use self::standing::identity_dir;
use crate::{
    config::Config,
    problem::{Exit, Problem},
};

/// What the door to the outside takes.
pub(crate) fn origin(config: &Config) -> OriginConfig {
    let limits = &config.origin;
    OriginConfig {
        origins: limits.allow.clone(),
        listed_only: limits.listed_only,
        ca_files: limits.ca_files.clone(),
        patience: Patience {
            connect: limits.connect_timeout,
            progress: limits.progress_timeout,
        },
        budget: Budget {
            concurrency: limits.concurrency,
            requests_per_second: limits.requests_per_second,
            bytes_per_second: limits.bytes_per_second,
            ..Budget::default()
        },
        dropped_parameters: limits.dropped_parameters.clone(),
        docker_config: limits.docker_config.clone(),
        realms: limits.realms.clone(),
        ..OriginConfig::default()
    }
}

/// What the store takes.
pub(crate) fn store(config: &Config) -> StoreConfig {
    StoreConfig {
        quota: config.store.quota,
        free_floor: config.store.free_floor,
        ..StoreConfig::new(config.host.data_dir.join("store"))
    }
}

/// What the mirror takes.
pub(crate) fn registries(config: &Config) -> Registries {
    Registries {
        known: config.mirror.registries.clone(),
        default: config.mirror.default_registry.clone(),
        any: config.mirror.any_registry,
    }
}

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
    let standing = standing::of_daemon(config).map_err(nobody)?;
    absent("daemon", (config, format!("{standing:?}")), stop)
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
