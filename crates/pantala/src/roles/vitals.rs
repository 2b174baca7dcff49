//! Status pages: the scheduler's, and that of a host on its way into its cluster.

use daemon::{Health, Severity};
use futures_util::{FutureExt, future::BoxFuture};
use gateway::admin::Vitals;
use prometheus_client::{encoding::text::encode, registry::Registry};
use scheduler::Metrics;

/// What the scheduler counts. It lives as long as the process: a scheduler whose task ended ends the process.
pub(crate) struct SchedulerVitals(Registry);

impl SchedulerVitals {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        Self(registry)
    }

    /// In the OpenMetrics text format.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.0) {
            Ok(()) => text,
            Err(error) => format!("# encoding failed: {error}\n"),
        }
    }
}

impl Vitals for SchedulerVitals {
    fn metrics(&self) -> BoxFuture<'_, String> {
        async { self.text() }.boxed()
    }

    fn ailments(&self) -> BoxFuture<'_, Vec<String>> {
        async { Vec::new() }.boxed()
    }

    fn missing(&self) -> BoxFuture<'_, Vec<String>> {
        async { Vec::new() }.boxed()
    }
}

/// What a host shows that has no certificate yet.
pub(super) struct JoiningVitals(pub(super) Health);

impl Vitals for JoiningVitals {
    fn metrics(&self) -> BoxFuture<'_, String> {
        async { "# EOF\n".to_owned() }.boxed()
    }

    fn ailments(&self) -> BoxFuture<'_, Vec<String>> {
        async { Vec::new() }.boxed()
    }

    fn missing(&self) -> BoxFuture<'_, Vec<String>> {
        async {
            let mut lines = self.0.complaints(Severity::NotReady);
            if lines.is_empty() {
                lines.push("joining: the scheduler was not asked yet".to_owned());
            }
            lines
        }
        .boxed()
    }
}
