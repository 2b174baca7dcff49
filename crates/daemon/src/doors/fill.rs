//! Bringing the rest of blobs that are read in parts, behind those who read them (`mirror.fill`).

use std::collections::BTreeMap;

use futures_util::FutureExt;
use parking_lot::Mutex;
use swarm::Class;
use tokio::task::{AbortHandle, JoinSet};
use types::TaskId;

use crate::{
    handle::{Fetch, Handle},
    task::TaskSpec,
};

/// Fills at once. Who comes when there are so many begins one with a later part.
const FILLS_MAX: usize = 8;

/// What is being filled. Dropped, all fills end.
#[derive(Default)]
pub(super) struct Fills(Mutex<Running>);

#[derive(Default)]
struct Running {
    fills: JoinSet<()>,
    by_task: BTreeMap<TaskId, AbortHandle>,
}

impl Fills {
    /// Has all of `spec` fetched, in the background of what anybody waits for, unless that is under way.
    pub(super) fn begin(&self, handle: &Handle, spec: TaskSpec) {
        let mut running = self.0.lock();
        // A panic of one is the end of that one.
        while running.fills.try_join_next().is_some() {}
        running.by_task.retain(|_, fill| !fill.is_finished());
        let task = spec.task;
        if running.by_task.contains_key(&task) || running.by_task.len() >= FILLS_MAX {
            return;
        }
        let filling = fill(handle.clone(), spec).boxed();
        let fill = running.fills.spawn(filling);
        running.by_task.insert(task, fill);
    }
}

async fn fill(handle: Handle, spec: TaskSpec) {
    let (task, end) = (spec.task, spec.layout.length().0);
    let fetch = Fetch {
        whole: true,
        class: Class::Background,
        ..Fetch::default()
    };
    let all = spec.layout.all();
    let mut at = 0;
    let filled = async {
        let mut reader = handle.open(spec, all, fetch).await?;
        while at < end {
            at = reader.ready(at).await?.end();
        }
        Ok::<_, std::sync::Arc<crate::task::TaskError>>(())
    };
    if let Err(error) = filled.await {
        tracing::debug!(%task, error = &error as &dyn std::error::Error, "the rest of a blob did not come");
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use types::{ByteCount, Layout, Source, Visibility};

    use super::*;
    use crate::handle::Command;

    fn spec(n: u8) -> TaskSpec {
        TaskSpec {
            task: TaskId::from_bytes([n; 32]),
            layout: Layout::of(ByteCount::mib(1)).expect("a layout"),
            digest: None,
            source: Source::Url("https://h/f".into()),
            visibility: Visibility::Public,
        }
    }

    #[tokio::test]
    async fn a_blob_is_filled_once_however_many_parts_are_read_and_few_are_at_a_time() {
        let (sender, mut commands) = mpsc::channel(64);
        let (handle, fills) = (Handle::new(sender), Fills::default());
        for n in [1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1] {
            fills.begin(&handle, spec(n));
        }
        let mut asked = Vec::new();
        for _ in 0..FILLS_MAX {
            let Some(Command::Open {
                spec, whole, class, ..
            }) = commands.recv().await
            else {
                panic!("a fill opens its task");
            };
            assert!(whole && class == Class::Background);
            asked.push(spec.task.to_string());
        }
        asked.sort_unstable();
        asked.dedup();
        assert_eq!(asked.len(), FILLS_MAX);
        assert_eq!(fills.0.lock().fills.len(), FILLS_MAX);
    }
}
