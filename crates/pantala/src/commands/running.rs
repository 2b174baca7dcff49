//! The daemon that runs on this host, and the configuration it was started with: its flags and environment are its own.

use std::{path::Path, time::Duration};

use gateway::local::{SettingReport, StatusReport, client::Client};
use tokio::{net::UnixStream, time::timeout};

use crate::{
    config::{Config, Sources},
    dial::PATIENCE,
};

/// A daemon that answers.
pub(super) struct Running {
    pub(super) status: StatusReport,
    /// What it was started with, beyond the defaults; none if it does not tell.
    pub(super) settings: Option<Vec<SettingReport>>,
}

impl Running {
    /// The daemon behind `socket`, if one answers in time.
    pub(super) async fn find(socket: &Path) -> Option<Self> {
        let client = Client::new(socket);
        let status = within(PATIENCE, client.status()).await?;
        let settings = within(PATIENCE, client.settings()).await;
        Some(Self { status, settings })
    }

    /// The configuration that it runs with; none if this program does not understand it.
    pub(super) fn config(&self) -> Option<Config> {
        let settings = self.settings.as_ref()?.iter();
        let told = settings.map(|one| (one.key.clone(), one.value.clone(), one.from.clone()));
        let sources = Sources {
            file: Some("/dev/null".into()),
            told: told.collect(),
            ..Sources::default()
        };
        Config::load(&sources).ok().map(|(config, _)| config)
    }

    /// The user who opened `socket`, by the kernel's word.
    pub(super) async fn user(socket: &Path) -> Option<u32> {
        let stream = within(PATIENCE, UnixStream::connect(socket)).await?;
        stream.peer_cred().ok().map(|it| it.uid())
    }

    /// Whether the scheduler runs in the same process.
    pub(super) fn is_up(&self) -> bool {
        self.status.command == "up"
    }
}

async fn within<T, E>(limit: Duration, asked: impl Future<Output = Result<T, E>>) -> Option<T> {
    timeout(limit, asked).await.ok()?.ok()
}
