//! The scheduler's status page.

use futures_util::{FutureExt, future::BoxFuture};
use gateway::admin::Vitals;
use prometheus_client::{encoding::text::encode, registry::Registry};
use scheduler::Scheduler;

/// What the scheduler counts. It lives as long as the process: a scheduler whose task ended ends the process.
pub(super) struct SchedulerVitals(Registry);

impl SchedulerVitals {
    pub(super) fn new(scheduler: &Scheduler) -> Self {
        let mut registry = Registry::default();
        scheduler.metrics().register(&mut registry);
        Self(registry)
    }
}

impl Vitals for SchedulerVitals {
    fn metrics(&self) -> BoxFuture<'_, String> {
        async {
            let mut text = String::new();
            match encode(&mut text, &self.0) {
                Ok(()) => text,
                Err(error) => format!("# encoding failed: {error}\n"),
            }
        }
        .boxed()
    }

    fn ailments(&self) -> BoxFuture<'_, Vec<String>> {
        async { Vec::new() }.boxed()
    }

    fn missing(&self) -> BoxFuture<'_, Vec<String>> {
        async { Vec::new() }.boxed()
    }
}
