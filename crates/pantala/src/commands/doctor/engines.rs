//! The mirror, and the container engines that should be pointed at it.

use runtime::{Engine, Host, Report, Standing};
use tokio::{process::Command, time::timeout};

use super::{Finding, Health};
use crate::{
    commands::runtime::{of_file, standing, unplanned},
    config::Config,
    dial::PATIENCE,
    engines::{self, ProbeError, remedy, sign},
};

pub(super) async fn examine(config: &Config, is_running: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut is_used = false;
    if config.mirror.listen.is_some() {
        match of_engines(config).await {
            Ok((engines, used)) => {
                found = engines;
                is_used = used;
            }
            Err(finding) => found.push(finding),
        }
    }
    found.insert(0, mirror(config, is_running, is_used).await);
    found
}

/// Whether the mirror answers; when no daemon runs, whether engines that were pointed there go on by themselves.
async fn mirror(config: &Config, is_running: bool, is_used: bool) -> Finding {
    let of = |health, told: String| Finding::new("mirror", health, told);
    let listen = config.mirror.listen.filter(|_| is_running || is_used);
    let Some(mut address) = listen else {
        return of(Health::Skipped, "no daemon, or no mirror".into());
    };
    if let Some(local) = engines::local(address) {
        address = local;
    }
    match sign(address).await {
        Ok(version) if is_running => of(
            Health::Good,
            format!("{address} answers, version {version}"),
        ),
        // Anybody may take the port of a daemon that is gone, and say what it said.
        Ok(_) => of(
            Health::Bad,
            format!("{address} answers like a mirror, and no daemon answers on its socket"),
        )
        .next(
            "see who listens there (`ss -ltnp`); `pantala runtime undo` sends engines to the registries themselves",
        ),
        Err(ProbeError::Nobody(..)) if !is_running => of(
            Health::Good,
            format!("nobody listens at {address}: engines that are pointed there go to the registries themselves"),
        ),
        Err(error @ ProbeError::Silent(_)) if is_running => {
            of(Health::Bad, error.to_string()).next(
                "look at the daemon's log; `pantala runtime undo` sends engines to the registries themselves meanwhile",
            )
        }
        Err(error) => of(Health::Bad, error.to_string()).next(error.next_step()),
    }
}

/// A finding for each engine, and whether any is pointed at the mirror.
async fn of_engines(config: &Config) -> Result<(Vec<Finding>, bool), Finding> {
    let wanted = engines::wanted(config, None, &[]).map_err(|_| {
        let told = "the mirror is not on loopback, so none is pointed at it by itself";
        Finding::new("engines", Health::Skipped, told)
    })?;
    let root = &config.runtime.root;
    let host = Host::new(root);
    let read = host
        .plan(&wanted)
        .and_then(|plan| host.standing(&plan, &wanted).map(|files| (plan, files)));
    let (plan, files) = read.map_err(|error| {
        let next = remedy(&error);
        let told = format!("{:#}", anyhow::Error::from(error));
        Finding::new("engines", Health::Bad, told).next(next)
    })?;
    let is_used = files.values().any(|how| *how != Standing::Gone)
        || plan.engines.iter().any(|it| it.is_named);
    let mut findings = Vec::new();
    for report in &plan.engines {
        // What the program in PATH says is of the host only where its root is ours.
        let version = match report.engine {
            Engine::Containerd if root.as_os_str() == "/" => containerd_version().await,
            _ => None,
        };
        let manages = config.runtime.manage;
        findings.push(of_engine(
            report,
            standing(report, &files),
            version,
            manages,
        ));
    }
    for (path, how) in unplanned(&plan, &files) {
        let (how, next) = of_file(how);
        let finding = Finding::new("engines", Health::Warning, format!("{path}: {how}"));
        findings.push(finding.next(next));
    }
    if findings.is_empty() {
        let told = format!("none was found below {}", root.display());
        findings.push(Finding::new("engines", Health::Skipped, told));
    }
    Ok((findings, is_used))
}

fn of_engine(
    report: &Report,
    standing: &'static str,
    version: Option<String>,
    manages: bool,
) -> Finding {
    let name = match report.engine {
        Engine::Containerd => "containerd",
        Engine::Docker => "docker",
        Engine::Containers => "podman, cri-o",
    };
    let version = version.map_or_else(String::new, |it| format!("{it}, "));
    let use_of_mirror = match standing {
        "armed" if report.next.is_empty() => "pointed at the mirror",
        "armed" | "in part" => "pointed at the mirror in part",
        "edited" => "has files of ours that somebody edited",
        "other address" => "pointed at another address than the mirror's",
        "out of date" => "pointed at the mirror by files that are out of date",
        "unrecorded" => "pointed at the mirror by files that our record does not know",
        "by your own files" if report.next.is_empty() => "pointed at the mirror by your own files",
        _ => "does not use the mirror",
    };
    let conflicts = report.conflicts.iter().map(|it| format!("; {it}"));
    let notes = report.notes.iter().map(|it| format!("; {it}"));
    let told: String = [format!("{version}{}: {use_of_mirror}", report.config)]
        .into_iter()
        .chain(conflicts)
        .chain(notes)
        .collect();
    let mut next = report.next.clone();
    match standing {
        "not armed" if report.files.is_empty() => {}
        "not armed" | "in part" | "other address" | "out of date" | "unrecorded" if manages => {
            next.insert(0, "see the daemon's log: it is to do this itself".into());
        }
        "not armed" | "in part" | "other address" | "out of date" | "unrecorded" => {
            next.insert(0, "`sudo pantala runtime apply`".into())
        }
        "edited" => next.insert(0, "`pantala runtime apply --force`, or undo it".into()),
        _ => {}
    }
    let is_good = next.is_empty() && report.conflicts.is_empty();
    let health = if is_good {
        Health::Good
    } else {
        Health::Warning
    };
    Finding::new(name, health, told).next(next.join("; then "))
}

/// What the containerd in PATH calls itself; none if there is none or it does not answer.
async fn containerd_version() -> Option<String> {
    let mut command = Command::new("containerd");
    let asked = command.arg("--version").kill_on_drop(true).output();
    let output = timeout(PATIENCE, asked).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // containerd github.com/containerd/containerd 1.6.20 1.6.20~ds1
    text.split_whitespace().nth(2).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{Read, Write},
        net::{SocketAddr, TcpListener},
        path::Path,
    };

    use super::*;

    const CONFIG: &str = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n";

    fn config(root: &Path, mirror: SocketAddr) -> Config {
        Config::of_flags(&[
            ("runtime.root", &root.display().to_string()),
            ("mirror.listen", &mirror.to_string()),
        ])
    }

    fn host(containerd: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("etc/containerd");
        fs::create_dir_all(&folder).expect("folders");
        fs::write(folder.join("config.toml"), containerd).expect("written");
        root
    }

    fn apply(config: &Config) {
        let host = Host::new(&config.runtime.root);
        let wanted = engines::wanted(config, None, &[]).expect("wanted");
        host.apply(&wanted, false).expect("applied");
    }

    async fn check(config: &Config, is_running: bool, health: &[Health], words: &[&str]) {
        let found = examine(config, is_running).await;
        let all: Vec<_> = found.iter().map(|it| it.health).collect();
        assert_eq!(all, health, "{found:?}");
        for (finding, words) in found.iter().zip(words) {
            let text = format!("{} next: {}", finding.told, finding.next);
            assert!(text.contains(words), "{words:?} is not in {text:?}");
        }
    }

    #[tokio::test]
    async fn an_engine_that_does_not_use_the_mirror_is_told_with_the_next_step() {
        let nobody: SocketAddr = {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.local_addr().expect("an address")
        };
        let root = host(CONFIG);
        let config = config(root.path(), nobody);
        let (skip, warn, good) = (Health::Skipped, Health::Warning, Health::Good);
        check(
            &config,
            false,
            &[skip, warn],
            &["", "sudo pantala runtime apply"],
        )
        .await;
        apply(&config);
        check(
            &config,
            false,
            &[good, good],
            &["go to the registries themselves", "pointed at the mirror"],
        )
        .await;
        check(&config, true, &[Health::Bad, good], &["nobody listens"]).await;
        // The mirror moved, and the files did not.
        let mut moved = config.clone();
        moved.mirror.listen = Some("127.0.0.1:1".parse().expect("an address"));
        let words = [
            "",
            "pointed at another address than the mirror's next: `sudo pantala runtime apply`",
        ];
        check(&moved, false, &[good, warn], &words).await;
        let mut fewer = config.clone();
        fewer.runtime.registries = vec!["docker.io".into()];
        let words = ["", "", "_default/hosts.toml: not planned any more"];
        check(&fewer, false, &[good, good, warn], &words).await;
        let path = "etc/containerd/certs.d/_default/hosts.toml";
        fs::write(root.path().join(path), "# mine\n").expect("written");
        check(&config, false, &[good, warn], &["", "apply --force"]).await;
    }

    #[tokio::test]
    async fn what_containerd_lacks_or_has_against_it_is_told() {
        let address = "127.0.0.1:1".parse().expect("an address");
        let cases = [
            ("version = 2\n", "config_path = \"/etc/containerd/certs.d\""),
            (
                "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.x]\n",
                "registry.mirrors",
            ),
            ("version = [", "mend that file"),
        ];
        for (text, words) in cases {
            let root = host(text);
            let config = config(root.path(), address);
            check(
                &config,
                false,
                &[Health::Skipped, Health::Warning],
                &["", words],
            )
            .await;
        }
        let root = host(&CONFIG.replace(
            ".registry]",
            "]\ndiscard_unpacked_layers = true\n[plugins.\"io.containerd.grpc.v1.cri\".registry]",
        ));
        let config = config(root.path(), address);
        apply(&config);
        check(
            &config,
            false,
            &[Health::Good, Health::Good],
            &["", "discard_unpacked_layers"],
        )
        .await;
    }

    /// Engines are pointed at a port that something else has.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_black_hole_on_the_mirrors_port_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let root = host(CONFIG);
        let config = config(root.path(), listener.local_addr().expect("an address"));
        apply(&config);
        let words = ["does not answer next: see who it is", ""];
        check(&config, false, &[Health::Bad, Health::Good], &words).await;
        // It answers by now, and is a web server.
        let server = std::thread::spawn(move || {
            let sign = "200 OK\r\npantala-mirror: 0";
            for status in ["404 Not Found", "404 Not Found", sign] {
                let (mut stream, _) = listener.accept().expect("a connection");
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                // The first one has given up.
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let words = ["is not the mirror (it answers 404 Not Found to /v2/)", ""];
        check(&config, false, &[Health::Bad, Health::Good], &words).await;
        // It says what the mirror would say.
        let words = ["answers like a mirror, and no daemon answers", ""];
        check(&config, false, &[Health::Bad, Health::Good], &words).await;
        server.join().expect("no panic");
    }
}
