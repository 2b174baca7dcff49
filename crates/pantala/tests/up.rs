//! A real `pantala up`: what it says of itself, and commands that learn from it what it was started with.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::JoinHandle,
};

use tempfile::TempDir;

struct Up {
    folder: TempDir,
    process: Child,
    /// Its lines until it was ready.
    lines: Vec<String>,
    rest: Option<JoinHandle<()>>,
}

impl Up {
    /// Started by flags alone: nobody else knows its folders.
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let set = |key: &str, name: &str| format!("{key}={}", folder.path().join(name).display());
        let mut process = Command::new(assert_cmd::cargo::cargo_bin!("pantala"))
            .env_clear()
            .args(["up", "--listen", "127.0.0.1:0"])
            .args(["--set", "scheduler.listen=127.0.0.1:0"])
            .args(["--set", "mirror.listen=off"])
            .args(["--set", "status.listen=127.0.0.1:0"])
            .args(["--set", "control.schedulers=a:1"])
            .args(["--set", "scheduler.cluster=garden", "--set"])
            .args([set("scheduler.ca_dir", "ca"), "--set".into()])
            .args([set("host.data_dir", "data"), "--set".into()])
            .arg(set("local.socket", "run/s"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let errors = process.stderr.take().expect("piped");
        let mut errors = BufReader::new(errors).lines().map_while(Result::ok);
        let mut lines = Vec::new();
        for line in errors.by_ref() {
            let is_ready = line.contains("the daemon runs");
            lines.push(line);
            if is_ready {
                break;
            }
        }
        let rest = std::thread::spawn(move || errors.for_each(drop));
        Self {
            folder,
            process,
            lines,
            rest: Some(rest),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What its status page answers.
    fn metrics(&self) -> String {
        let ready = self.lines.last().expect("a line");
        let (_, address) = ready.rsplit_once("status=").expect("an address");
        let address = address.split(' ').next().expect("an address");
        let mut page = TcpStream::connect(address).expect("a page");
        page.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .expect("asked");
        let mut told = String::new();
        page.read_to_string(&mut told).expect("an answer");
        told
    }

    /// A command that knows of it only its socket; what it said, and whether it ended well.
    fn ask(&self, args: &[&str]) -> (bool, String) {
        let asked = Command::new(assert_cmd::cargo::cargo_bin!("pantala"))
            .env_clear()
            .env("PANTALA_LOCAL_SOCKET", self.path("run/s"))
            .args(args)
            .output()
            .expect("it ran");
        let said = [asked.stdout, asked.stderr].concat();
        (
            asked.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(rest) = self.rest.take() {
            let _ = rest.join();
        }
    }
}

#[test]
fn up_says_who_reaches_it_and_commands_learn_how_it_was_started() {
    let up = Up::start();
    let first = up.lines.iter().take(8).cloned().collect::<Vec<_>>();
    let first = first.join("\n");
    assert!(
        first.contains("peers") && first.contains("this machine alone; only hosts of the cluster"),
        "{first}"
    );

    assert!(first.contains("not used: `pantala up`"), "{first}");

    let (is_well, told) = up.ask(&["doctor"]);
    assert!(is_well, "{told}");
    for words in [
        "scheduler.cluster = \"garden\" (flag --set)",
        "peer.listen = \"127.0.0.1:0\" (flag --listen)",
        "none is needed: `pantala up` is one itself",
        &format!("{} is ours alone", up.path("data").display()),
    ] {
        assert!(told.contains(words), "{words}\n{told}");
    }

    let told = up.metrics();
    for name in ["pantala_tasks ", "pantala_scheduler_hosts "] {
        assert!(told.lines().any(|line| line.starts_with(name)), "{told}");
    }

    let (is_well, told) = up.ask(&["token", "create"]);
    assert!(is_well, "{told}");
    let id = told.split('.').next().expect("an id").to_owned();
    let (is_well, told) = up.ask(&["token", "list"]);
    assert!(is_well && told.contains(&id), "{told}");
}
