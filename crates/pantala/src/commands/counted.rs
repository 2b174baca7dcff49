//! docs/metrics.md, made from what a daemon and a scheduler show that have counted nothing yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use crate::roles::SchedulerVitals;

const HEAD: &str = "<!-- Made from the registries: UPDATE_DOCS=1 cargo nextest run -p pantala -->
# Metrics

At `/metrics` of `status.listen` (a daemon, and both parts of `pantala up`) and of `scheduler.status`, in the OpenMetrics
text format. A histogram NAME is shown as NAME_bucket, NAME_sum and NAME_count. Labels have the values that stand here and
no others.
";

/// The page.
pub(super) fn markdown() -> String {
    let scheduler = SchedulerVitals::new(&scheduler::Metrics::default()).text();
    let daemon = daemon::Metrics::default().shown();
    let mut page = HEAD.to_owned();
    for (title, text) in [("daemon", daemon), ("scheduler", scheduler)] {
        let head = "| name | type | labels | what it counts |\n| --- | --- | --- | --- |";
        writeln!(page, "\n## Of a {title}\n\n{head}").expect("a string takes everything");
        for metric in metrics(&text) {
            writeln!(page, "{}", metric.row()).expect("a string takes everything");
        }
    }
    page
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Metric<'a> {
    name: &'a str,
    kind: &'a str,
    help: &'a str,
    labels: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl Metric<'_> {
    fn row(&self) -> String {
        let suffix = if self.kind == "counter" { "_total" } else { "" };
        let labels = self.labels.iter();
        let labels = labels.map(|(label, values)| {
            let values: Vec<&str> = values.iter().copied().collect();
            format!("`{label}`: {}", values.join(", "))
        });
        let labels: Vec<String> = labels.collect();
        let (name, kind, help) = (self.name, self.kind, self.help);
        format!(
            "| `{name}{suffix}` | {kind} | {} | {help} |",
            labels.join("; ")
        )
    }
}

/// What `text` shows, in its order.
fn metrics(text: &str) -> Vec<Metric<'_>> {
    let mut found: Vec<Metric<'_>> = Vec::new();
    for line in text.lines() {
        if let Some((name, help)) = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '))
        {
            found.push(Metric {
                name,
                help,
                ..Metric::default()
            });
        } else if let Some(metric) = found.last_mut() {
            match line
                .strip_prefix("# TYPE ")
                .and_then(|rest| rest.split_once(' '))
            {
                Some((_, kind)) => metric.kind = kind,
                None => metric.labelled(line),
            }
        }
    }
    found
}

impl<'a> Metric<'a> {
    /// Takes the labels of a sample; `le` is every histogram's.
    fn labelled(&mut self, sample: &'a str) {
        let labels = sample
            .split_once('{')
            .and_then(|(_, rest)| rest.rsplit_once('}'));
        let labels = labels.map_or("", |(labels, _)| labels).split(',');
        for (label, value) in labels.filter_map(|one| one.split_once('=')) {
            let values = self.labels.entry(label).or_default();
            values.insert(value.trim_matches('"'));
        }
        self.labels.remove("le");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_types_and_labels_are_read_from_what_is_shown() {
        let text = "# HELP a_bytes Bytes.\n# TYPE a_bytes counter\na_bytes_total{source=\"peer\"} 7\n\
                    a_bytes_total{source=\"origin\"} 0\n# HELP b Speed.\n# TYPE b histogram\n\
                    b_bucket{le=\"1.0\"} 0\n# EOF\n";
        let rows: Vec<String> = metrics(text).iter().map(Metric::row).collect();
        assert_eq!(
            rows,
            [
                "| `a_bytes_total` | counter | `source`: origin, peer | Bytes. |",
                "| `b` | histogram |  | Speed. |"
            ]
        );
    }
}
