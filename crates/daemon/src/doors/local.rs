//! What the commands of this host's users ask: tasks, the store, the bypass, how things are.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{FutureExt, future::BoxFuture};
use gateway::{
    ContentReader, HeldManifest, ManifestAsk, OpenError, SourceBytes,
    local::{
        BypassChange, BypassState, ExplainReport, Failure, FailureCode, Freed, Listed,
        LocalService, SettingReport, StatusReport, StoreEntry, TaskReport, WaitReport,
    },
};
use store::{ContentInfo, RemoveError, Store};
use types::{ByteCount, PieceRun, TaskId, Visibility};

use super::{Doors, Severity, explain};
use crate::handle::{Command, TaskStatus, Wait, WaitOn};

/// A host that swept its store keeps what was used within this time: running containers may need it again.
const KEPT_FOR: Duration = Duration::from_secs(3600);

impl LocalService for Doors {
    fn content(&self) -> &dyn ContentReader {
        self
    }

    fn manifest<'a>(
        &'a self,
        ask: &'a ManifestAsk,
    ) -> BoxFuture<'a, Result<HeldManifest, OpenError>> {
        self.manifest_of(ask).boxed()
    }

    fn tasks(&self, listed: Listed) -> BoxFuture<'_, Result<Vec<TaskReport>, Failure>> {
        async move {
            let tasks = self.handle.tasks().await.into_iter();
            let tasks = tasks.filter(|task| is_listed(task.visibility, listed));
            Ok(tasks.map(report).collect())
        }
        .boxed()
    }

    fn explained(&self, listed: Listed) -> BoxFuture<'_, Result<Vec<ExplainReport>, Failure>> {
        async move {
            let (now, rows) = self.handle.explained().await;
            let rows = rows.iter().filter(|row| is_listed(row.visibility, listed));
            Ok(rows.map(|row| explain::report(row, now)).collect())
        }
        .boxed()
    }

    fn store_list(&self, listed: Listed) -> BoxFuture<'_, Result<Vec<StoreEntry>, Failure>> {
        async move {
            let is_row =
                move |info: &ContentInfo| is_something(info) && is_listed(info.visibility, listed);
            let list = move |store: &Store| store.list().into_iter().filter(is_row);
            self.with_store(move |store| Ok(list(store).map(entry).collect()))
                .await
        }
        .boxed()
    }

    fn store_remove(&self, task: TaskId) -> BoxFuture<'_, Result<Freed, Failure>> {
        let remove = move |store: &Store| match store.remove(task) {
            Ok(bytes) => Ok(Freed {
                entries: 1,
                bytes: bytes.0,
            }),
            Err(error @ RemoveError::Unknown) => Err(Failure::of(FailureCode::NotFound, &error)),
            Err(error @ RemoveError::Busy) => Err(Failure::of(FailureCode::BadRequest, &error)),
            Err(error) => Err(Failure::of(FailureCode::Internal, &error)),
        };
        async move {
            self.handle.release(Some(task)).await;
            let freed = self.with_store(remove).await?;
            let tasks = vec![task];
            self.handle.tell(Command::Removed { tasks }).await;
            Ok(freed)
        }
        .boxed()
    }

    fn store_gc(&self) -> BoxFuture<'_, Result<Freed, Failure>> {
        async move {
            self.handle.release(None).await;
            let (freed, tasks) = self.with_store(|store| Ok(sweep(store))).await?;
            self.handle.tell(Command::Removed { tasks }).await;
            Ok(freed)
        }
        .boxed()
    }

    fn bypass(&self, change: BypassChange) -> BoxFuture<'_, Result<BypassState, Failure>> {
        async move {
            if change != BypassChange::Show {
                let bypass = Arc::clone(&self.bypass);
                let switch = move || bypass.switch(change == BypassChange::On);
                let switched = super::stream_through::blocking(switch).await;
                switched.map_err(|error| Failure::of(FailureCode::Internal, &error))?;
                tracing::info!(is_on = self.bypass.is_on(), "bypass switched");
            }
            Ok(self.bypass_state())
        }
        .boxed()
    }

    fn status(&self) -> BoxFuture<'_, Result<StatusReport, Failure>> {
        async move {
            let usage = self
                .with_store(|store| {
                    let usage = store.usage();
                    usage.map_err(|error| Failure::of(FailureCode::Internal, &error))
                })
                .await?;
            let problems = [Severity::Broken, Severity::NotReady, Severity::Degraded]
                .into_iter()
                .flat_map(|severity| self.health.complaints(severity))
                .collect();
            let available = usage.used.saturating_add(usage.free);
            Ok(StatusReport {
                version: self.config.version.clone(),
                host: self.config.host.clone(),
                cluster: self.config.cluster.clone(),
                tasks: self.handle.tasks().await.len() as u64,
                store_bytes: usage.used.0,
                store_bytes_max: usage.quota.unwrap_or(available).0,
                bypass: self.bypass_state(),
                problems,
                command: self.config.started.command.clone(),
            })
        }
        .boxed()
    }

    fn settings(&self) -> Vec<SettingReport> {
        self.config.started.settings.clone()
    }

    fn log(&self) -> Vec<String> {
        self.config.started.log.map_or_else(Vec::new, |log| log())
    }
}

impl Doors {
    fn bypass_state(&self) -> BypassState {
        BypassState {
            is_on: self.bypass.is_on(),
        }
    }

    async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let store = self.resolver.store.clone();
        tokio::task::spawn_blocking(move || work(&store))
            .await
            .unwrap_or_else(|error| Err(Failure::of(FailureCode::Internal, &error)))
    }
}

/// Removes what nobody holds or used lately; what was taken in use meanwhile stays. Gives what went, too.
fn sweep(store: &Store) -> (Freed, Vec<TaskId>) {
    let now = SystemTime::now();
    let may_go = |info: &ContentInfo| {
        !info.in_use && info.held > ByteCount::ZERO && unused(info, now) >= KEPT_FOR
    };
    let mut freed = Freed {
        entries: 0,
        bytes: 0,
    };
    let mut gone = Vec::new();
    for info in store.list().into_iter().filter(may_go) {
        let task = info.task;
        match store.remove(task) {
            Ok(bytes) => {
                freed.entries += 1;
                freed.bytes += bytes.0;
                gone.push(task);
            }
            Err(error) => {
                tracing::debug!(%task, error = &error as &dyn std::error::Error, "not swept");
            }
        }
    }
    (freed, gone)
}

fn is_listed(visibility: Visibility, listed: Listed) -> bool {
    visibility == Visibility::Public || listed == Listed::Everything
}

/// Whether it is worth a row: what never came goes with the store's next commit.
fn is_something(info: &ContentInfo) -> bool {
    let has_bytes = info.held > ByteCount::ZERO || info.layout.length() == ByteCount::ZERO;
    has_bytes || info.in_use
}

fn unused(info: &ContentInfo, now: SystemTime) -> Duration {
    now.duration_since(info.last_used).unwrap_or_default()
}

fn entry(info: ContentInfo) -> StoreEntry {
    StoreEntry {
        task: info.task.to_string(),
        digest: info.digest.map(|digest| digest.to_string()),
        length: info.layout.length().0,
        held: info.held.0,
        unused_seconds: unused(&info, SystemTime::now()).as_secs(),
        name: info.source.map(|source| source.to_string()).or(info.name),
    }
}

fn report(status: TaskStatus) -> TaskReport {
    let (held, all) = status.pieces;
    let waits: Vec<WaitReport> = status.waits.iter().map(wait).collect();
    let state = match waits.first() {
        _ if held == all => "all pieces held".to_owned(),
        Some(wait) => format!("waits for {}", wait.on),
        None => "idle".to_owned(),
    };
    TaskReport {
        task: status.task.to_string(),
        content: status.source,
        length: Some(status.length),
        verified: status.local + status.peer + status.origin,
        sources: SourceBytes {
            local: status.local,
            peer: status.peer,
            origin: status.origin,
        },
        state,
        waits,
    }
}

pub(super) fn wait(wait: &Wait) -> WaitReport {
    let pieces = |run: PieceRun| match run.count {
        1 => format!("{}", run.first),
        count => format!("{count} pieces from {} on", run.first),
    };
    let on = match wait.on {
        WaitOn::Parent(host, run) => format!("{} of host {host}", pieces(run)),
        WaitOn::Scheduler => "the scheduler, which is away or refused for now".to_owned(),
        WaitOn::Origin(run) => format!("{} of the origin", pieces(run)),
        WaitOn::OriginRest => "the origin, which failed or asked to be left alone".to_owned(),
        WaitOn::AnyHost => "any host to have it, or for leave to read the origin".to_owned(),
    };
    WaitReport {
        on,
        since_ms: wait.since_ms,
        left_ms: wait.left_ms,
    }
}
