//! The headers by which clients speak to Dragonfly's proxy: read, kept from origins, and answered. Pure.
//!
//! Two are taken and change nothing: `Piece-Length`, since lengths decide, and `Enable-Task-ID-Based-Blob-Digest`, since
//! blobs always go by their digest. `Content-For-Calculating-Task-ID` changes nothing either: whoever names content as it
//! likes could make others read it for something else.

use ::http::{HeaderMap, HeaderName, HeaderValue};
use types::TaskId;

use super::rule::Traits;
use crate::http::Answer;

const PREFIX: &str = "x-dragonfly-";
const USE_P2P: &str = "x-dragonfly-use-p2p";
const REGISTRY: &str = "x-dragonfly-registry";

/// Whose fault an answer is: Nydus decides by it whether it goes on without us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The origin said so.
    Origin,
    /// Refused by policy.
    Policy,
    /// Our own.
    Own,
}

/// What a client says beside its request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    /// It wants content through the swarm where no rule decides.
    pub(super) is_content: bool,
    /// The start of the URL of a request that has a path alone.
    pub(super) registry: Option<String>,
    set: Vec<(&'static str, String)>,
}

impl Wishes {
    /// Those in `headers`; what means nothing is passed over.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
        let known = [
            ("x-dragonfly-tag", "tag"),
            ("x-dragonfly-application", "application"),
            ("x-dragonfly-priority", "priority"),
            ("x-dragonfly-filtered-query-params", "ignore"),
            ("x-dragonfly-prefetch", "prefetch"),
        ];
        let set = known
            .into_iter()
            .filter_map(|(header, name)| Some((name, text(header)?.to_owned())));
        Self {
            is_content: text(USE_P2P).is_some_and(|text| text.eq_ignore_ascii_case("true")),
            registry: text(REGISTRY).map(|text| text.trim_end_matches('/').to_owned()),
            set: set.collect(),
        }
    }

    /// A rule's traits as this client wants them.
    pub(super) fn over(&self, rules: &Traits) -> Traits {
        let mut traits = rules.clone();
        for (name, value) in &self.set {
            let _ = traits.set(name, value);
        }
        traits.is_ignored_by_client = traits.ignored != rules.ignored;
        traits
    }
}

/// `headers` without those that are meant for us alone.
pub(super) fn strip(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(PREFIX))
        .cloned()
        .collect();
    for name in ours {
        headers.remove(name);
    }
}

/// Says which task an answer is of, and whether all of it was here before.
pub(super) fn tell_task(answer: &mut Answer, task: TaskId, is_here: bool) {
    let headers = answer.headers_mut();
    if let Ok(task) = HeaderValue::try_from(task.to_string()) {
        headers.insert("x-dragonfly-task-id", task);
    }
    let is_here = HeaderValue::from_static(if is_here { "true" } else { "false" });
    headers.insert("x-dragonfly-task-download-finished", is_here);
}

/// Says whose fault an answer is.
pub(super) fn tell_fault(answer: &mut Answer, fault: Fault) {
    let fault = HeaderValue::from_static(match fault {
        Fault::Origin => "backend",
        Fault::Policy => "proxy",
        Fault::Own => "dfdaemon",
    });
    answer.headers_mut().insert("x-dragonfly-error-type", fault);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Class;

    #[test]
    fn what_a_client_says_goes_over_the_rule_and_no_further() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-dragonfly-use-p2p", "True"),
            ("x-dragonfly-registry", "https://ghcr.io/"),
            ("x-dragonfly-tag", "t"),
            ("x-dragonfly-application", "nydus"),
            ("x-dragonfly-priority", "3"),
            ("x-dragonfly-filtered-query-params", "A, b"),
            ("x-dragonfly-prefetch", "perhaps"),
            ("x-dragonfly-piece-length", "4MiB"),
            ("accept", "a"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let wishes = Wishes::of(&headers);
        assert!(wishes.is_content);
        assert_eq!(wishes.registry.as_deref(), Some("https://ghcr.io"));
        let traits = wishes.over(&Traits::default());
        assert_eq!(traits.ignored, ["a", "b"]);
        assert_eq!((&*traits.tag, &*traits.application), ("t", "nydus"));
        assert_eq!((traits.class, traits.prefetch), (Class::Ahead, false));
        let others = Traits {
            is_ignored_by_client: false,
            ..traits.clone()
        };
        assert_ne!(
            traits.name(),
            others.name(),
            "nobody else reads it for theirs"
        );
        strip(&mut headers);
        assert_eq!(headers.len(), 1);
    }
}
