//! A process that has no file descriptor left, and what its doors do then.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Instant,
};

use assert_cmd::cargo::cargo_bin;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

/// `pantala up` in a folder of its own, and what it logs.
struct Up {
    child: Child,
    log: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Up {
    fn start(folder: &Path) -> Self {
        let set = |key: &str, value: &str| ["--set".to_owned(), format!("{key}={value}")];
        let path = |name: &str| folder.join(name).display().to_string();
        let listen = ["peer", "scheduler", "mirror", "status"];
        let listen = listen.map(|door| set(&format!("{door}.listen"), "127.0.0.1:0"));
        let paths = [
            set("host.data_dir", &path("data")),
            set("scheduler.ca_dir", &path("ca")),
            set("local.socket", &path("socket")),
        ];
        let mut child = Command::new(cargo_bin("pantala"))
            .env_clear()
            .arg("up")
            .args(listen.into_iter().chain(paths).flatten())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let (lines, log) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        // It ends with the process.
        thread::spawn(move || {
            let mut lines_in = stderr.lines().map_while(Result::ok);
            lines_in.try_for_each(|line| lines.send(line))
        });
        let seen = Vec::new();
        Self { child, log, seen }
    }

    /// Waits for the next line with `words`.
    fn says(&mut self, words: &str) -> String {
        let line = self.seen.iter().find(|line| line.contains(words));
        if let Some(line) = line {
            return line.clone();
        }
        loop {
            let line = self.log.recv();
            let line = line.unwrap_or_else(|_| panic!("{words} was never said: {:#?}", self.seen));
            self.seen.push(line.clone());
            if line.contains(words) {
                return line;
            }
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Leaves it so many descriptors more than it uses now.
    fn leave_descriptors(&self, spare: u64) {
        let used = fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        let most = used.expect("it lives").count() as u64 + spare;
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        prlimit(Some(self.pid()), Resource::Nofile, limit).expect("limited");
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The address after `name` in the line that tells that the daemon runs.
fn address(line: &str, name: &str) -> String {
    let (_, rest) = line.split_once(name).expect("it listens");
    let is_part = |letter: &char| letter.is_ascii_digit() || ".:".contains(*letter);
    rest.chars().take_while(is_part).collect()
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connects");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

#[test]
fn doors_without_descriptors_rest_and_serve_again() {
    const DOORS: [&str; 4] = [
        "peer port",
        "registry mirror",
        "status page",
        "local socket",
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let mut up = Up::start(folder.path());
    let runs = up.says("the daemon runs");
    let [peer, mirror, status] = ["peer=", "mirror=", "status="].map(|name| address(&runs, name));
    let socket = folder.path().join("socket");
    up.leave_descriptors(16);
    let began = Instant::now();
    let callers: Vec<TcpStream> = [&peer, &mirror, &status]
        .into_iter()
        .flat_map(|door| {
            (0..64).map(move |_| TcpStream::connect(door).expect("the kernel takes it"))
        })
        .collect();
    let local: Vec<UnixStream> = (0..64)
        .map(|_| UnixStream::connect(&socket).expect("the kernel takes it"))
        .collect();
    for door in DOORS {
        up.says(&format!("door=\"{door}\""));
    }
    drop((callers, local));

    let metrics = get(&status, "/metrics");
    let took = began.elapsed();
    let name = "\npantala_untaken_connections_total ";
    let (_, count) = metrics.split_once(name).expect("it is counted");
    let count: u128 = count
        .lines()
        .next()
        .unwrap_or_default()
        .parse()
        .expect("a number");
    let rests = took.as_millis() / 100 + 1;
    assert!((4..=4 * rests).contains(&count), "{count} in {took:?}");
    assert!(get(&mirror, "/v2/").starts_with("HTTP/1.1 "));
    let mut stranger = TcpStream::connect(&peer).expect("connects");
    stranger.write_all(&[b'?'; 64]).expect("sent");
    let mut answer = Vec::new();
    // Turned away, with a word or by a reset.
    drop(stranger.read_to_end(&mut answer));
    let tasks = Command::new(cargo_bin("pantala"))
        .env_clear()
        .args(["task", "--socket"])
        .arg(&socket)
        .output();
    let tasks = tasks.expect("it ran");
    assert!(tasks.status.success(), "{tasks:?}");

    kill_process(up.pid(), Signal::TERM).expect("it lives");
    assert!(up.child.wait().expect("waited for").success());
    up.seen.extend(up.log.iter());
    let is_told = |line: &&String| line.contains("could not be taken");
    let told = up.seen.iter().filter(is_told).count() as u64;
    // One listener more is the scheduler's.
    let most = (DOORS.len() as u64 + 1) * (1 + took.as_secs() / 10);
    assert!(told <= most, "{told} lines: {:#?}", up.seen);
}
