//! Configurations as they are in the world go in, out and back byte for byte.

use std::{collections::BTreeMap, fs, net::SocketAddr, os::unix::fs::symlink, path::Path};

use runtime::{ApplyError, Host, Wanted};

const V2: &str = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n";
const V3: &str = "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/etc/containerd/certs.d:/etc/docker/certs.d'\n";
const KUBEADM: &str = "version = 2\nroot = \"/var/lib/containerd\"\n[plugins]\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"registry.k8s.io/pause:3.9\"\n";
const LEGACY: &str = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\nendpoint = [\"https://m\"]\n";
const GKE: &str = "version = 2\nrequired_plugins = [\"io.containerd.grpc.v1.cri\"]\noom_score = -999\n[plugins.\"io.containerd.grpc.v1.cri\"]\nstream_server_address = \"127.0.0.1\"\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\ndiscard_unpacked_layers = true\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n";
const CONFIG: &str = "etc/containerd/config.toml";
const HOSTS: &str = "etc/containerd/certs.d/docker.io/hosts.toml";
const DAEMON: &str = "etc/docker/daemon.json";
const PODMAN: &str = "etc/containers/registries.conf";
const OURS: &str = "etc/containers/registries.conf.d/50-pantala.conf";
const ALL: &str = "etc/containerd/certs.d/_default/hosts.toml";

fn wanted() -> Wanted {
    Wanted {
        mirror: SocketAddr::from(([127, 0, 0, 1], 7472)),
        registries: vec!["docker.io".into(), "_default".into()],
    }
}

fn put(root: &Path, path: &str, content: &str) {
    let at = root.join(path);
    fs::create_dir_all(at.parent().expect("a folder")).expect("folders");
    fs::write(at, content).expect("a file");
}

/// Every path below `root`: files with bytes, links with targets, folders.
fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(at: &Path, root: &Path, all: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(at).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path
                .strip_prefix(root)
                .expect("below")
                .to_string_lossy()
                .into_owned();
            if path.is_symlink() {
                let target = fs::read_link(&path).expect("a link");
                all.insert(name, target.into_os_string().into_encoded_bytes());
            } else if path.is_dir() {
                all.insert(name + "/", Vec::new());
                walk(&path, root, all);
            } else {
                all.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(root, root, &mut all);
    all
}

/// A tree of `files` gets exactly the files `made`, says each of `said`, and is as before after undoing.
fn check(files: &[(&str, &str)], made: &[&str], said: &[&str]) {
    let root = tempfile::tempdir().expect("a folder");
    for (path, content) in files {
        put(root.path(), path, content);
    }
    check_tree(root.path(), made, said);
}

fn check_tree(root: &Path, made: &[&str], said: &[&str]) {
    let before = tree(root);
    let host = Host::new(root);
    let plan = host.plan(&wanted()).expect("a plan");
    assert_eq!(tree(root), before, "a plan changes nothing");
    let mut planned: Vec<&str> = plan
        .files()
        .map(|it| it.path.trim_start_matches('/'))
        .collect();
    planned.sort_unstable();
    let mut made = made.to_vec();
    made.sort_unstable();
    assert_eq!(planned, made);
    let text = format!("{plan:?}");
    for words in said {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    host.apply(&plan, false).expect("applied");
    let after = tree(root);
    for (path, bytes) in &before {
        assert_eq!(after.get(path), Some(bytes), "{path} is somebody else's");
    }
    for path in &made {
        let text = String::from_utf8(after[*path].clone()).expect("text");
        assert!(
            path.ends_with("json") || text.parse::<toml::Table>().is_ok(),
            "{text}"
        );
    }
    let again = host.plan(&wanted()).expect("a plan");
    assert!(
        host.apply(&again, false).expect("applied").is_empty(),
        "twice is once"
    );
    assert_eq!(tree(root), after);
    host.undo(false).expect("undone");
    assert_eq!(tree(root), before, "as before");
}

#[test]
fn every_kind_of_containerd_comes_back_as_it_was() {
    let both = [HOSTS, ALL];
    check(&[], &[], &[]);
    check(&[(CONFIG, V2)], &both, &["version 2"]);
    check(&[(CONFIG, V3)], &both, &["version 3", "dial_timeout"]);
    check(&[(CONFIG, GKE)], &both, &["discard_unpacked_layers"]);
    check(
        &[(CONFIG, KUBEADM)],
        &both,
        &["config_path = \\\"/etc/containerd/certs.d\\\""],
    );
    check(&[(CONFIG, LEGACY)], &[], &["registry.mirrors"]);
    check(&[(CONFIG, "version = [")], &[], &["is not TOML"]);
    check(
        &[(CONFIG, &V2.replace('\n', "\r\n"))],
        &both,
        &["version 2"],
    );
    check(&[(CONFIG, &format!("\u{feff}{V2}"))], &both, &["version 2"]);
    check(
        &[(CONFIG, &format!("{V2}[unknown]\nkey = 1\n"))],
        &both,
        &[],
    );
    check(
        &[(CONFIG, V2), (HOSTS, "server = \"https://m\"\n")],
        &[ALL],
        &["not ours", "before other hosts"],
    );
}

#[test]
fn what_others_make_or_own_comes_back_as_it_was() {
    let k3s = ("etc/rancher/k3s/registries.yaml", "mirrors: {}\n");
    let template = (
        "var/lib/rancher/k3s/agent/etc/containerd/config.toml.tmpl",
        "{{ template \"base\" . }}\n",
    );
    check(
        &[k3s, template],
        &[],
        &["add to /etc/rancher/k3s/registries.yaml"],
    );
    check(
        &[("etc/rancher/rke2/config.yaml", "cni: canal\n")],
        &[],
        &["make /etc/rancher/rke2/registries.yaml"],
    );
    check(
        &[("etc/os-release", "NAME=Talos\nID=talos\n"), (CONFIG, V2)],
        &[],
        &["machine.registries.mirrors"],
    );
    check(
        &[("etc/os-release", "ID=bottlerocket\n"), (CONFIG, V3)],
        &[],
        &["settings.container-registry"],
    );
    check(
        &[("etc/docker/key.json", "{}")],
        &[DAEMON],
        &["reload docker"],
    );
    check(
        &[(DAEMON, "{\"log-driver\": \"local\"}")],
        &[],
        &["add to /etc/docker/daemon.json"],
    );
    check(
        &[(DAEMON, "{\"registry-mirrors\": [\"https://m\"]}")],
        &[],
        &["another mirror"],
    );
    check(&[(DAEMON, "{")], &[], &["not a JSON object"]);
    check(
        &[(PODMAN, "unqualified-search-registries = [\"docker.io\"]\n")],
        &[OURS],
        &["no default mirror"],
    );
    check(
        &[(
            PODMAN,
            "[[registry]]\nprefix = \"docker.io\"\nlocation = \"m\"\n",
        )],
        &[],
        &["has an entry for docker.io"],
    );
}

#[test]
fn a_linked_file_is_read_and_not_replaced() {
    let root = tempfile::tempdir().expect("a folder");
    put(root.path(), "etc/real.toml", V2);
    put(root.path(), "etc/other.toml", "server = \"https://m\"\n");
    fs::create_dir_all(root.path().join("etc/containerd/certs.d/docker.io")).expect("folders");
    symlink("/etc/real.toml", root.path().join(CONFIG)).expect("a link");
    symlink("/etc/other.toml", root.path().join(HOSTS)).expect("a link");
    check_tree(root.path(), &[ALL], &["version 2", "not ours"]);
}

#[test]
fn a_file_that_was_edited_is_kept_until_it_is_forced() {
    let root = tempfile::tempdir().expect("a folder");
    put(root.path(), CONFIG, V2);
    let before = tree(root.path());
    let host = Host::new(root.path());
    host.apply(&host.plan(&wanted()).expect("a plan"), false)
        .expect("applied");
    put(root.path(), HOSTS, "# mine\n");
    assert!(matches!(host.undo(false), Err(ApplyError::Changed(path)) if path.ends_with(HOSTS)));
    let plan = host.plan(&wanted()).expect("a plan");
    assert!(matches!(
        host.apply(&plan, false),
        Err(ApplyError::Changed(_))
    ));
    assert_eq!(
        fs::read(root.path().join(HOSTS)).expect("it is there"),
        b"# mine\n"
    );
    host.undo(true).expect("undone");
    assert_eq!(tree(root.path()), before);
}

#[test]
fn what_a_crash_between_two_files_left_is_mended_by_both() {
    for is_undone in [true, false] {
        let root = tempfile::tempdir().expect("a folder");
        put(root.path(), CONFIG, V2);
        let before = tree(root.path());
        let host = Host::new(root.path());
        let plan = host.plan(&wanted()).expect("a plan");
        host.apply(&plan, false).expect("applied");
        let whole = tree(root.path());
        // The record names both, one is not there, and its temporary file is.
        fs::remove_file(root.path().join(HOSTS)).expect("removed");
        put(
            root.path(),
            "etc/containerd/certs.d/docker.io/.pantala-runtime-x",
            "half",
        );
        if is_undone {
            host.undo(false).expect("undone");
            assert_eq!(tree(root.path()), before);
        } else {
            host.apply(&plan, false).expect("applied");
            assert_eq!(tree(root.path()), whole);
        }
    }
}
