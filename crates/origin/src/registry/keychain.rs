//! Docker's credential helpers: programs that print what they hold for a registry.
//!
//! `docker-credential-NAME get` reads the registry's name and answers in JSON. It runs as this process does, found on its
//! `PATH`; what it prints is taken into custody and told nobody, whatever it is.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    time::timeout,
};
use types::Secret;

use super::credentials::Credential;
use crate::flight::Flights;

/// The longest that a helper may take: some ask a cloud's service.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most that a helper may print: real ones print some KiB.
const ANSWER_MAX: u64 = 64 << 10;
/// How long its answer is used. What it got from a cloud is good for hours.
const KEPT_FOR: Duration = Duration::from_secs(300);
/// What helpers print, and end with 1, when they hold nothing (docker's `credentials` package).
const NOT_FOUND: &str = "credentials not found in native keychain";

/// Why a helper gave nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HelperError {
    /// It did not run, or broke off.
    #[error("running {program}")]
    Run {
        /// Which.
        program: String,
        /// What the system said.
        #[source]
        cause: Arc<io::Error>,
    },
    /// It did not end in time.
    #[error("{program} took longer than {} s", PATIENCE.as_secs())]
    Slow {
        /// Which.
        program: String,
    },
    /// It failed, or printed something else. What it printed is not told.
    #[error("{program} printed no credentials")]
    Answer {
        /// Which.
        program: String,
    },
}

/// A program that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Helper(String);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Told {
    username: String,
    secret: String,
}

impl Helper {
    /// The helper that docker's configuration calls `name`; none if that is no plain name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let is_plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
        let fits = (1..=64).contains(&name.len()) && name.bytes().all(is_plain);
        fits.then(|| Self(format!("docker-credential-{name}")))
    }

    /// What it holds for `registry`. Dropped early, the program is ended.
    async fn get(&self, registry: &str) -> Result<Option<Credential>, HelperError> {
        let program = || self.0.clone();
        let late = |_| HelperError::Slow { program: program() };
        let ran = timeout(PATIENCE, run(OsString::from(&self.0), server(registry)));
        let (is_well, printed) = ran.await.map_err(late)?.map_err(|cause| HelperError::Run {
            program: program(),
            cause: Arc::new(cause),
        })?;
        let unfit = || HelperError::Answer { program: program() };
        let printed = printed.expose().as_slice();
        if !is_well {
            let words = String::from_utf8_lossy(printed);
            return (words.trim() == NOT_FOUND)
                .then_some(None)
                .ok_or_else(unfit);
        }
        let told: Told = serde_json::from_slice(printed).map_err(|_| unfit())?;
        let secret = Secret::new(told.secret);
        Ok(Some(match told.username.as_str() {
            "<token>" => Credential::Identity(secret),
            _ => Credential::Password {
                user: told.username,
                password: secret,
            },
        }))
    }
}

/// What helpers call a registry.
fn server(registry: &str) -> &str {
    match registry {
        "docker.io" => "https://index.docker.io/v1/",
        other => other,
    }
}

/// Whether it ended well, and what it printed.
async fn run(program: OsString, server: &str) -> io::Result<(bool, Secret<Vec<u8>>)> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut into) = child.stdin.take() {
        // One that knows without reading may have ended by now.
        drop(into.write_all(format!("{server}\n").as_bytes()).await);
    }
    let mut printed = Vec::new();
    if let Some(from) = child.stdout.take() {
        from.take(ANSWER_MAX).read_to_end(&mut printed).await?;
    }
    Ok((child.wait().await?.success(), Secret::new(printed)))
}

type Answer = Result<Option<Credential>, HelperError>;

/// What helpers said lately. Equal questions are asked once.
pub(crate) struct Helped {
    kept: Mutex<BTreeMap<String, (Option<Credential>, Instant)>>,
    asked: Flights<String, Answer>,
}

impl Helped {
    pub(crate) fn new() -> Self {
        Self {
            kept: Mutex::default(),
            asked: Flights::new(),
        }
    }

    /// What `helper` holds for `registry`. There are as many answers kept as registries are listed.
    pub(crate) async fn of(&self, registry: &str, helper: &Helper) -> Answer {
        let now = Instant::now();
        if let Some((credential, at)) = self.kept.lock().get(registry)
            && now.saturating_duration_since(*at) < KEPT_FOR
        {
            return Ok(credential.clone());
        }
        let (helper, name) = (helper.clone(), registry.to_owned());
        let ask = move || async move { helper.get(&name).await }.boxed();
        let credential = self.asked.join(registry.to_owned(), ask).await?;
        let answer = (credential.clone(), now);
        self.kept.lock().insert(registry.to_owned(), answer);
        Ok(credential)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use futures_util::future::join_all;

    use super::*;

    /// A helper that is a shell script, which also counts its runs in a file.
    fn helper(dir: &tempfile::TempDir, script: &str) -> Helper {
        let path = dir.path().join("docker-credential-lab");
        let count = dir.path().join("runs");
        let text = format!(
            "#!/bin/sh\necho >>{}\nread server\n{script}\n",
            count.display()
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        Helper(path.to_str().unwrap().to_owned())
    }

    fn runs(dir: &tempfile::TempDir) -> usize {
        let runs = fs::read_to_string(dir.path().join("runs")).unwrap();
        runs.lines().count()
    }

    #[tokio::test]
    async fn a_helper_is_asked_once_for_all_and_its_answer_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let script = r#"[ "$1 $server" = "get r.example" ] && echo '{"ServerURL":"r","Username":"ann","Secret":"canary"}'"#;
        let (helped, helper) = (Helped::new(), helper(&dir, script));
        let all = join_all((0..5).map(|_| helped.of("r.example", &helper))).await;
        for one in all {
            let Ok(Some(Credential::Password { user, password })) = one else {
                panic!("it holds a password");
            };
            assert_eq!(
                (user.as_str(), password.expose().as_str()),
                ("ann", "canary")
            );
        }
        helped.of("r.example", &helper).await.unwrap();
        assert_eq!(runs(&dir), 1);
    }

    #[tokio::test]
    async fn every_answer_of_a_helper_is_understood_or_refused_without_telling_it() {
        let dir = tempfile::tempdir().unwrap();
        let get = async |script: &str| helper(&dir, script).get("docker.io").await;
        let token = get(r#"echo '{"Username":"<token>","Secret":"canary"}'"#).await;
        assert!(matches!(token, Ok(Some(Credential::Identity(_)))));
        let server = get(
            r#"[ $server = https://index.docker.io/v1/ ] || exit 3; echo '{"Username":"a","Secret":"b"}'"#,
        );
        assert!(matches!(server.await, Ok(Some(_))));
        let nothing = get(&format!("echo '{NOT_FOUND}'; exit 1")).await;
        assert!(matches!(nothing, Ok(None)));
        for bad in [
            "echo canary; exit 1",
            "echo canary",
            r#"echo '{"Secret":"canary"}'"#,
            "exec 1>&-",
        ] {
            let error = get(bad).await.expect_err(bad);
            let told = format!("{error} {error:?}");
            assert!(!told.contains("canary"), "{told}");
            assert!(matches!(error, HelperError::Answer { .. }), "{told}");
        }
        let gone = Helper(dir.path().join("gone").to_str().unwrap().to_owned());
        assert!(matches!(gone.get("r").await, Err(HelperError::Run { .. })));
    }

    #[test]
    fn only_plain_names_are_helpers() {
        assert_eq!(
            Helper::named("ecr-login"),
            Some(Helper("docker-credential-ecr-login".into()))
        );
        for bad in ["", "../x", "a/b", "a b", "a;b", "$(x)", &"a".repeat(65)] {
            assert_eq!(Helper::named(bad), None, "{bad}");
        }
    }
}
