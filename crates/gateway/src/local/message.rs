//! What both ends of the local socket say. Pure.
//!
//! Unknown fields are refused: a client that believes in a field which this daemon ignores would be told yes and get
//! something else.

use std::{error::Error, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use types::Secret;

use crate::{Efficiency, OpenError, ReadError, SourceBytes};

/// The version that this code speaks. A daemon refuses others, saying which it knows.
pub(crate) const VERSION: u32 = 1;

/// The one frame that a client sends.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hello {
    pub(crate) version: u32,
    pub(crate) request: Request,
}

/// Only the version of a frame whose other fields may be those of a later one.
#[derive(Debug, Deserialize)]
pub(crate) struct HelloVersion {
    pub(crate) version: u32,
}

/// What a client asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    Get(GetRequest),
    Manifest(ManifestRequest),
    Tasks,
    Explain,
    StoreList,
    StoreRemove { task: String },
    StoreGc,
    Bypass(BypassChange),
    Status,
    Settings,
    Log,
}

impl Request {
    /// Whether it changes anything for others, or tells what is theirs.
    pub(crate) fn is_management(&self) -> bool {
        match self {
            // What it logs may tell of content that is not for everybody.
            Self::StoreRemove { .. } | Self::StoreGc | Self::Log => true,
            Self::Bypass(change) => *change != BypassChange::Show,
            Self::Get(_)
            | Self::Manifest(_)
            | Self::Tasks
            | Self::Explain
            | Self::StoreList
            | Self::Status
            | Self::Settings => false,
        }
    }
}

/// Text that may hold a credential: it is written to the socket and never printed.
#[derive(Clone, Debug)]
pub struct SecretText(pub Secret<String>);

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|text| Self(Secret::new(text)))
    }
}

impl From<&str> for SecretText {
    fn from(text: &str) -> Self {
        Self(Secret::new(text.to_owned()))
    }
}

/// A request for content.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetRequest {
    /// A URL, or `REGISTRY/REPOSITORY@sha256:DIGEST`.
    pub reference: SecretText,
    /// What a URL's bytes must hash to.
    #[serde(default)]
    pub digest: Option<String>,
    /// Header lines for the origin.
    #[serde(default)]
    pub headers: Vec<HeaderLine>,
    /// A name that keeps contents of one URL apart.
    #[serde(default)]
    pub tag: String,
    /// The value of a `Range` header, such as `bytes=0-1023`; the whole when absent.
    #[serde(default)]
    pub range: Option<String>,
    /// Whether it gives way to everything that somebody waits for.
    #[serde(default)]
    pub background: bool,
}

impl GetRequest {
    /// A request for the whole of `reference`.
    pub fn of(reference: &str) -> Self {
        Self {
            reference: reference.into(),
            digest: None,
            headers: Vec::new(),
            tag: String::new(),
            range: None,
            background: false,
        }
    }
}

/// A request for an image's manifest, or the index of its platforms.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestRequest {
    /// `REGISTRY/REPOSITORY`, with a tag, a digest or both.
    pub image: String,
    /// Header lines for the registry.
    #[serde(default)]
    pub headers: Vec<HeaderLine>,
}

/// A header line for the origin.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderLine {
    /// Its name.
    pub name: String,
    /// Its value, a secret.
    pub value: SecretText,
}

/// What to do about the bypass, with which consumers are sent straight to the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BypassChange {
    /// Send consumers straight to the origin.
    On,
    /// Serve them again.
    Off,
    /// Change nothing.
    Show,
}

/// What a daemon answers. A list is one frame per row and an `End`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// The content is found; its descriptor follows this frame.
    Opened(OpenedReply),
    /// These bytes may be read through the descriptor.
    Verified {
        start: u64,
        end: u64,
        /// Where what this reader got so far came from.
        #[serde(default)]
        sources: SourceBytes,
    },
    /// What was said to be verified is void: it begins anew from the first byte asked for.
    Voided,
    /// All bytes asked for are verified, the whole by its digest if the whole was asked for.
    Done {
        digest: Option<String>,
        sources: SourceBytes,
        /// How near the task came to what is possible.
        #[serde(default)]
        efficiency: Option<Efficiency>,
        /// Whether some of it is of use to this host alone.
        #[serde(default)]
        unshared: bool,
    },
    /// A manifest; so many bytes follow this frame.
    Manifest {
        media_type: String,
        digest: String,
        length: u64,
    },
    Task(TaskReport),
    Explained(Box<ExplainReport>),
    Entry(StoreEntry),
    Freed(Freed),
    Bypass(BypassState),
    Status(StatusReport),
    Setting(SettingReport),
    Line(String),
    End,
    Failed(Failure),
}

/// What is known of content before its bytes come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OpenedReply {
    pub(crate) task: String,
    /// Length of the whole content.
    pub(crate) length: u64,
    /// The bytes asked for.
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) content_type: Option<String>,
}

/// A running task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskReport {
    /// Its id.
    pub task: String,
    /// What it distributes, without secrets.
    pub content: String,
    /// Bytes of the whole, once known.
    pub length: Option<u64>,
    /// Bytes verified so far.
    pub verified: u64,
    /// Where they came from.
    pub sources: SourceBytes,
    /// What it does now, or waits for, in words.
    pub state: String,
    /// What it waits for now, the longest wait first.
    #[serde(default)]
    pub waits: Vec<WaitReport>,
}

/// One live wait of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitReport {
    /// For what and on whom, in words.
    pub on: String,
    /// For how many milliseconds it lasts.
    pub since_ms: u64,
    /// How many milliseconds more it may last before something else is done.
    pub left_ms: u64,
}

/// What a task cost this host, while it runs or after it left memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainReport {
    /// Its id.
    pub task: String,
    /// What it distributes, without secrets.
    pub content: String,
    /// What its whole hashes to, if it is known by that.
    pub digest: Option<String>,
    /// Bytes of the whole.
    pub length: u64,
    /// Bytes of it that are here.
    pub held: u64,
    /// Seconds since it left memory; none while it is there.
    pub ended_seconds: Option<u64>,
    /// Why it failed, the outermost message first.
    pub failed: Vec<String>,
    /// Times that somebody on this host opened it.
    pub readers: u32,
    /// What was here at first and who gave the rest, in order of cost.
    pub sources: Vec<SourceReport>,
    /// What it waited for while nothing came, in order of cost.
    pub waited: Vec<WaitedReport>,
    /// What it waits for now, the longest wait first.
    pub waits: Vec<WaitReport>,
    /// Whether this host read the origin for others, and why or why not, in words.
    pub importer: String,
    /// How near it came to what is possible, if it took long enough to be measured.
    pub efficiency: Option<Efficiency>,
}

/// Where bytes came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// `local`, `peer` or `origin`.
    pub from: SourceKind,
    /// Which host, of a peer; none for those beyond a bound.
    #[serde(default)]
    pub host: Option<String>,
    /// Where it stands, as `REGION/ZONE/RACK`, of a peer that told.
    #[serde(default)]
    pub zone: Option<String>,
    /// Verified pieces.
    pub pieces: u32,
    /// Their bytes.
    pub bytes: u64,
    /// Milliseconds that ended with its pieces.
    pub ms: u64,
    /// Why it was this one.
    pub why: String,
}

/// A kind of source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// This host's store.
    Local,
    /// Another host.
    Peer,
    /// The origin.
    Origin,
}

/// Time in which nothing came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitedReport {
    /// For what, in words.
    pub on: String,
    /// Milliseconds.
    pub ms: u64,
}

/// Content in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreEntry {
    /// Its task.
    pub task: String,
    /// Its digest, if known.
    pub digest: Option<String>,
    /// Bytes of the whole.
    pub length: u64,
    /// Bytes held.
    pub held: u64,
    /// Seconds since it was last used.
    pub unused_seconds: u64,
    /// Where it came from, without secrets.
    #[serde(default)]
    pub name: Option<String>,
}

/// What a removal freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freed {
    /// Contents removed.
    pub entries: u64,
    /// Bytes freed.
    pub bytes: u64,
}

/// Whether consumers are sent straight to the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BypassState {
    /// They are.
    pub is_on: bool,
}

/// How the daemon is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Its version.
    pub version: String,
    /// Its host id.
    pub host: String,
    /// Its cluster.
    pub cluster: String,
    /// Running tasks.
    pub tasks: u64,
    /// Bytes in the store.
    pub store_bytes: u64,
    /// Bytes the store may hold.
    pub store_bytes_max: u64,
    /// Whether consumers are sent straight to the origin.
    pub bypass: BypassState,
    /// What a person should look at, one line each.
    pub problems: Vec<String>,
    /// The command that it was started by: `daemon`, or `up` with the scheduler in the same process.
    #[serde(default)]
    pub command: String,
}

/// A key of the configuration that the daemon runs with, beyond its defaults. No key holds a secret, only the names of
/// files that do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingReport {
    /// `section.name`.
    pub key: String,
    /// As it would stand in a file.
    pub value: String,
    /// Where it came from: a line of a file, a variable or a flag.
    pub from: String,
}

/// Why a request failed: a code for programs, a chain of causes and the next step for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Failure {
    /// For programs.
    pub code: FailureCode,
    /// The outermost message first.
    pub causes: Vec<String>,
    /// What to do about it.
    pub next_step: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}", self.causes.join(": "))
    }
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// The request makes no sense.
    BadRequest,
    /// The daemon speaks another version.
    Version,
    /// The caller may not do this.
    Forbidden,
    /// The content does not exist.
    NotFound,
    /// The origin wants other credentials.
    Denied,
    /// The origin asks for patience.
    OriginBusy,
    /// No source can be reached.
    Unavailable,
    /// A rule forbids it.
    Policy,
    /// The content is not what its digest says.
    Corrupt,
    /// The disk of the daemon is full or fails.
    NoRoom,
    /// The daemon's own fault.
    Internal,
    /// The daemon is going away.
    Stopping,
}

impl FailureCode {
    const fn next_step(self) -> &'static str {
        match self {
            Self::BadRequest => "correct the command",
            Self::Version => "use the command and the daemon of one release",
            Self::Forbidden => "run it as root or as a user that the daemon's configuration allows",
            Self::NotFound => "check the name and the spelling",
            Self::Denied => "pass credentials for the origin with --header",
            Self::OriginBusy => "try again later",
            Self::Unavailable => {
                "check the URL, the origin and the network; the daemon's log says more"
            }
            Self::Policy => {
                "if it is meant, allow it to the daemon, by flag or in its configuration, and restart that; else ask whoever runs the cluster"
            }
            Self::Corrupt => "check the digest; if it is right, the origin's content is wrong",
            Self::NoRoom => {
                "free the disk of the daemon's data directory; `pantala store ls` shows what it holds"
            }
            Self::Internal => "look at the daemon's log; `pantala doctor` helps",
            Self::Stopping => "try again when the daemon is back",
        }
    }
}

/// Bounds of a failure, so that it fits a frame even when every character is escaped.
const CAUSES_MAX: usize = 8;
const CAUSE_CHARS_MAX: usize = 1000;

impl Failure {
    /// A failure with one message.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self {
            code,
            causes: vec![message.into().chars().take(CAUSE_CHARS_MAX).collect()],
            next_step: code.next_step().to_owned(),
        }
    }

    /// A failure with the chain of `error`.
    pub fn of(code: FailureCode, error: &dyn Error) -> Self {
        let mut causes = Vec::new();
        let mut next = Some(error);
        while let Some(error) = next.filter(|_| causes.len() < CAUSES_MAX) {
            causes.push(error.to_string().chars().take(CAUSE_CHARS_MAX).collect());
            next = error.source();
        }
        Self {
            code,
            causes,
            next_step: code.next_step().to_owned(),
        }
    }
}

impl From<&OpenError> for Failure {
    fn from(error: &OpenError) -> Self {
        let code = match error {
            OpenError::NotFound(_) => FailureCode::NotFound,
            OpenError::Denied(_) => FailureCode::Denied,
            OpenError::OriginBusy { .. } => FailureCode::OriginBusy,
            OpenError::Unavailable(_) => FailureCode::Unavailable,
            OpenError::NoRoom(_) => FailureCode::NoRoom,
            OpenError::Policy(_) => FailureCode::Policy,
        };
        Self::of(code, error)
    }
}

impl From<&ReadError> for Failure {
    fn from(error: &ReadError) -> Self {
        let code = match error {
            ReadError::NoSource(_) => FailureCode::Unavailable,
            ReadError::Corrupt { .. } | ReadError::Voided => FailureCode::Corrupt,
            ReadError::Store(_) => FailureCode::NoRoom,
            ReadError::Stopping => FailureCode::Stopping,
        };
        Self::of(code, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::frame;

    fn hello(json: &str) -> bool {
        serde_json::from_str::<Hello>(json).is_ok()
    }

    #[test]
    fn no_request_holds_a_path_a_user_or_a_permission() {
        let get = |extra: &str| {
            format!(r#"{{"version":1,"request":{{"get":{{"reference":"https://h/f"{extra}}}}}}}"#)
        };
        assert!(hello(&get("")));
        assert!(hello(&get(r#","tag":"t","range":"bytes=0-1""#)));
        assert!(hello(&get(r#","background":true"#)));
        for extra in [
            r#","path":"/etc/passwd""#,
            r#","output":"/root/.ssh/authorized_keys""#,
            r#","uid":0"#,
            r#","overwrite":true"#,
            r#","force_hard_link":true"#,
        ] {
            assert!(!hello(&get(extra)), "{extra}");
        }
        assert!(hello(r#"{"version":1,"request":"tasks"}"#));
        assert!(!hello(r#"{"version":1,"request":"tasks","path":"x"}"#));
    }

    #[test]
    fn secrets_of_a_request_do_not_print() {
        let mut get = GetRequest::of("https://h/f?sig=hunter2");
        get.headers.push(HeaderLine {
            name: "authorization".into(),
            value: "Bearer hunter2".into(),
        });
        assert!(!format!("{:?}", Request::Get(get)).contains("hunter2"));
    }

    #[test]
    fn the_longest_failure_fits_a_frame() {
        #[derive(Debug, thiserror::Error)]
        #[error("{}", "\u{1}".repeat(5000))]
        struct Deep(#[source] Option<Box<Deep>>);
        let chain = (0..20).fold(Deep(None), |inner, _| Deep(Some(Box::new(inner))));
        let failure = Failure::of(FailureCode::Internal, &chain);
        assert!(frame::encode(&Reply::Failed(failure)).is_ok());
    }
}
