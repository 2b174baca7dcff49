//! Configurations as they are in the world, by who makes them: each goes in, is pointed at the mirror, and comes back byte
//! for byte.

mod check;
mod trees;

use check::{check, check_for};
use runtime::Host;
use trees::{planted, wanted};

const CONFIG: &str = "etc/containerd/config.toml";
const HUB: &str = "etc/containerd/certs.d/docker.io/hosts.toml";
const ALL: &str = "etc/containerd/certs.d/_default/hosts.toml";
const DAEMON: &str = "etc/docker/daemon.json";
const PODMAN: &str = "etc/containers/registries.conf";
const RKE2: &str = "etc/rancher/rke2/registries.yaml";
const K3S: &str = "etc/rancher/k3s/registries.yaml";

const V2: &str = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n";
const V3: &str = "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/etc/containerd/certs.d'\n";
/// What `containerd config default` of 1.6 writes for kubeadm, shortened.
const KUBEADM: &str = r#"disabled_plugins = []
imports = []
oom_score = 0
root = "/var/lib/containerd"
version = 2

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins]

  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "registry.k8s.io/pause:3.9"

    [plugins."io.containerd.grpc.v1.cri".containerd]
      discard_unpacked_layers = false
      snapshotter = "overlayfs"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = true

    [plugins."io.containerd.grpc.v1.cri".registry]
      config_path = ""

      [plugins."io.containerd.grpc.v1.cri".registry.auths]

      [plugins."io.containerd.grpc.v1.cri".registry.configs]

      [plugins."io.containerd.grpc.v1.cri".registry.mirrors]
"#;
/// As nodeadm writes it for EKS on Amazon Linux 2023, shortened.
const EKS: &str = r#"root = "/var/lib/containerd"
state = "/run/containerd"
version = 2

[grpc]
address = "/run/containerd/containerd.sock"

[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "runc"
discard_unpacked_layers = true

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/kubernetes/pause"
enable_cdi = true

[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "/etc/containerd/certs.d:/etc/docker/certs.d"
"#;
const EKS_V3: &str = r#"version = 3
[plugins.'io.containerd.cri.v1.images']
discard_unpacked_layers = false
[plugins.'io.containerd.cri.v1.images'.registry]
config_path = "/etc/containerd/certs.d:/etc/docker/certs.d"
"#;
/// The main file of EKS on Amazon Linux 2, and one that it imports.
const EKS_AL2: &str = r#"version = 2
imports = ["/etc/containerd/config.d/*.toml"]
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "602401143452.dkr.ecr.us-west-2.amazonaws.com/eks/pause:3.5"
"#;
const GKE: &str = r#"version = 2
required_plugins = ["io.containerd.grpc.v1.cri"]
# Kubernetes doesn't use containerd restart manager.
disabled_plugins = ["io.containerd.internal.v1.restart"]
oom_score = -999
[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/hosts.d"
"#;
const AKS: &str = r#"version = 2
oom_score = -999
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "mcr.microsoft.com/oss/kubernetes/pause:3.6"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "/etc/containerd/certs.d"
  [plugins."io.containerd.grpc.v1.cri".registry.headers]
    X-Meta-Source-Client = ["azure/aks"]
[metrics]
  address = "0.0.0.0:10257"
"#;

#[test]
fn a_host_without_engines_gets_nothing() {
    check(&[], &[], &[]);
    check(&[("etc/os-release", "ID=debian\n")], &[], &[]);
}

#[test]
fn kubernetes_by_kubeadm_and_of_clouds() {
    let line = "set in /etc/containerd/config.toml: `config_path = \"/etc/containerd/certs.d\"` below \
                `[plugins.\"io.containerd.grpc.v1.cri\".registry]`";
    check(&[(CONFIG, KUBEADM)], &[HUB, ALL], &[line]);
    check(&[(CONFIG, AKS)], &[HUB, ALL], &["version 2"]);
    let gke = [
        (CONFIG, GKE),
        (
            "etc/containerd/hosts.d/docker.io/hosts.toml",
            "[host.\"https://mirror.gcr.io\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
        ),
    ];
    let all = "etc/containerd/hosts.d/_default/hosts.toml";
    check(
        &gke,
        &[all],
        &[
            "docker.io/hosts.toml is there and not ours",
            "before other hosts: `[host.\"http://127.0.0.1:7472\"]`",
        ],
    );
}

#[test]
fn of_several_folders_none_hides_what_another_has() {
    let docker_all = "etc/docker/certs.d/_default/hosts.toml";
    let discards = "discard_unpacked_layers";
    let several = "names several folders: containerd 2.1 and newer looks into none";
    check(&[(CONFIG, EKS)], &[HUB, docker_all], &[discards, several]);
    let ca = ("etc/docker/certs.d/docker.io/ca.crt", "PEM\n");
    check(
        &[(CONFIG, EKS), ca],
        &[docker_all],
        &["docker.io has ca.crt"],
    );
    check(
        &[(CONFIG, EKS_V3)],
        &[HUB, docker_all],
        &["name one folder alone", "use_local_image_pull"],
    );
    let local = EKS_V3.replace(
        "discard_unpacked_layers = false",
        "use_local_image_pull = true",
    );
    check(&[(CONFIG, &local)], &[HUB, docker_all], &[]);
}

#[test]
fn what_is_imported_counts() {
    let at = |name: &str| format!("etc/containerd/config.d/{name}");
    let (path, other, unread) = (at("10-registry.toml"), at("20-gpu.toml"), at("x.toml.bak"));
    let main = (CONFIG, EKS_AL2);
    let gpu = (
        other.as_str(),
        "[plugins.\"io.containerd.grpc.v1.cri\".containerd]\n",
    );
    check(
        &[main],
        &[HUB, ALL],
        &["add to /etc/containerd/config.toml"],
    );
    check(
        &[main, (&path, V2), (&unread, "no = [")],
        &[HUB, ALL],
        &["version 2"],
    );
    // containerd 1 takes the whole plugin's section from the last file that has it, containerd 2 merges them.
    check(
        &[main, (&path, V2), gpu],
        &[HUB, ALL],
        &["add to /etc/containerd/config.d/20-gpu.toml", "before 2.0"],
    );
    let mirrors = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\nendpoint = [\"https://m\"]\n";
    check(
        &[main, (&path, mirrors), gpu],
        &[],
        &["10-registry.toml has registry.mirrors"],
    );
    let elsewhere = V2.replace("/etc/containerd/certs.d", "/opt/certs.d");
    check(
        &[main, (&path, &elsewhere), gpu],
        &[
            "opt/certs.d/docker.io/hosts.toml",
            "opt/certs.d/_default/hosts.toml",
        ],
        &[],
    );
    check(
        &[main, (&path, "no = [")],
        &[],
        &["10-registry.toml is not TOML"],
    );
}

#[test]
fn imports_of_imports_and_patterns_of_folders_count() {
    let main = |imports: &str| format!("version = 2\nimports = [\"{imports}\"]\n");
    let mirrors = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.x]\nendpoint = [\"https://m\"]\n";
    let said = &["etc/containerd/conf.d/a/x.toml has registry.mirrors"];
    let inner = ("etc/containerd/conf.d/a/x.toml", mirrors);
    for pattern in [
        "conf.d/*/x.toml",
        "/etc/*/conf.d/?/x.toml",
        "/etc/containerd/conf.d/*/*",
        "/etc/containerd/./b/../conf.d/a/x.toml",
    ] {
        // A question mark alone is a name.
        let pattern = pattern.replace("/*/conf.d/?/", "/*/conf.d/*/");
        check(&[(CONFIG, &main(&pattern)), inner], &[], said);
    }
    // Relative to the file that imports; a circle ends.
    let outer = (
        "etc/containerd/conf.d/outer.toml",
        "imports = [\"a/*.toml\", \"../config.toml\"]\n",
    );
    check(&[(CONFIG, &main("conf.d/*.toml")), outer, inner], &[], said);
    check(
        &[(CONFIG, &main("/etc/containerd/conf.d/b/*")), inner],
        &[HUB, ALL],
        &[],
    );
}

/// containerd 2.2 imports them without being told.
#[test]
fn drop_ins_count_where_nobody_imports_them() {
    let at = "etc/containerd/conf.d/x.toml";
    let mirrors = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.x]\nendpoint = [\"https://m\"]\n";
    for main in [("etc/containerd/", ""), (CONFIG, "version = 2\n")] {
        check(
            &[main, (at, mirrors)],
            &[],
            &["conf.d/x.toml has registry.mirrors"],
        );
        let line = "imports = [\"/etc/containerd/conf.d/*.toml\"]";
        check(&[main, (at, V2)], &[HUB, ALL], &[line]);
        check(&[main, (at, V3)], &[HUB, ALL], &[line]);
    }
}

#[test]
fn without_config_path_what_the_newest_release_follows_by_itself_is_not_hidden() {
    let docker = ("etc/docker/certs.d/docker.io/ca.crt", "PEM\n");
    let other = ("etc/docker/certs.d/r.corp/ca.crt", "PEM\n");
    let follows = "which containerd 2.2 and newer follows";
    for main in [("etc/containerd/", ""), (CONFIG, "version = 3\n")] {
        check(&[main, docker], &[], &[follows, "config_path"]);
        check(&[main, other], &[HUB], &[follows]);
    }
    check(&[(CONFIG, KUBEADM), docker], &[HUB, ALL], &["set in"]);
}

#[test]
fn tags_are_left_to_the_registries_where_that_is_wanted() {
    let root = planted(&[
        (CONFIG, V2),
        (PODMAN, ""),
        ("etc/docker/key.json", "{}"),
        ("etc/containerd/certs.d/quay.io/hosts.toml", ""),
    ]);
    let mut wanted = wanted(&["docker.io", "quay.io"]);
    wanted.digests_only = true;
    let plan = Host::new(root.path()).plan(&wanted).expect("a plan");
    for file in plan.files() {
        assert!(!file.content.contains("resolve"), "{}", file.content);
        let is_asked = file.content.contains("capabilities = [\"pull\"]")
            || file.content.contains("pull-from-mirror = \"digest-only\"");
        assert!(is_asked, "{}", file.content);
    }
    assert_eq!(plan.files().count(), 2);
    let told = format!("{plan:?}");
    assert!(
        told.contains("its mirrors are asked for tags too"),
        "{told}"
    );
    assert!(
        !told.contains("resolve") && !told.contains("registry-mirrors"),
        "{told}"
    );
    let talos = planted(&[("etc/os-release", "ID=talos\n")]);
    let plan = Host::new(talos.path()).plan(&wanted).expect("a plan");
    assert!(plan.engines[0].next.is_empty(), "{plan:?}");
}

#[test]
fn every_version_of_a_configuration_has_its_own_section() {
    check(&[(CONFIG, V2)], &[HUB, ALL], &["version 2"]);
    check(&[(CONFIG, V3)], &[HUB, ALL], &["version 3"]);
    check(
        &[(CONFIG, &V3.replace("version = 3", "version = 4"))],
        &[HUB, ALL],
        &["version 4"],
    );
    let v1 = "[plugins.cri.registry]\nconfig_path = \"/etc/containerd/certs.d\"\n";
    check(&[(CONFIG, v1)], &[HUB, ALL], &["version 1"]);
    check(
        &[(CONFIG, "[plugins.cri]\n")],
        &[HUB, ALL],
        &["below `[plugins.cri.registry]`"],
    );
    check(
        &[("etc/containerd/", "")],
        &[HUB, ALL],
        &["no config.toml, without config_path"],
    );
}

#[test]
fn what_containerd_does_not_take_together_is_not_brought_together() {
    let of = |section: &str| {
        format!("version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.{section}\n")
    };
    let mirrors = of("mirrors.\"docker.io\"]\nendpoint = [\"https://m\"]");
    check(
        &[(CONFIG, &mirrors)],
        &[],
        &["registry.mirrors, with which containerd takes no config_path"],
    );
    let tls = of("configs.\"m\".tls]\nca_file = \"/ca.pem\"");
    check(&[(CONFIG, &tls)], &[], &["registry.configs with tls"]);
    let auth = of("configs.\"m\".auth]\nusername = \"u\"");
    check(&[(CONFIG, &auth)], &[HUB, ALL], &["without config_path"]);
}

#[test]
fn files_as_editors_of_all_kinds_leave_them() {
    check(
        &[(CONFIG, &V2.replace('\n', "\r\n"))],
        &[HUB, ALL],
        &["version 2"],
    );
    check(
        &[(CONFIG, &format!("\u{feff}{V2}"))],
        &[HUB, ALL],
        &["version 2"],
    );
    check(
        &[(CONFIG, &format!("{V2}[unknown]\nkey = 1\n"))],
        &[HUB, ALL],
        &[],
    );
    check(
        &[(CONFIG, "version = [")],
        &[],
        &["is not TOML", "mend that file"],
    );
    check(&[(CONFIG, "version = \"two\"\n")], &[HUB, ALL], &[]);
    check(
        &[(DAEMON, "\u{feff}{}\r\n")],
        &[],
        &["add to /etc/docker/daemon.json"],
    );
    check(
        &[(&format!("{CONFIG}/"), "")],
        &[],
        &["config.toml is a folder"],
    );
}

#[test]
fn registries_with_files_of_their_own_keep_them() {
    let main = (CONFIG, V2);
    check(
        &[main, (HUB, "server = \"https://m\"\n")],
        &[ALL],
        &["not ours", "before other hosts"],
    );
    let named = "[host.\"http://127.0.0.1:7472\"]\n";
    check(&[main, (HUB, named)], &[ALL], &["names the mirror"]);
    check(
        &[main, ("etc/containerd/certs.d/docker.io/", "")],
        &[HUB, ALL],
        &[],
    );
    let certificate = ("etc/containerd/certs.d/docker.io/client.cert", "PEM\n");
    check(
        &[main, certificate],
        &[ALL],
        &["has client.cert, which containerd takes only"],
    );
    let quay = ("etc/containerd/certs.d/quay.io/hosts.toml", named);
    check(
        &[main, quay],
        &[HUB, ALL],
        &["quay.io counts for that registry instead of _default"],
    );
    // A mirror for all that somebody else named: a folder for one registry would hide it.
    let all = (ALL, "server = \"http://m\"\n");
    let hides = "_default is not ours and counts for docker.io";
    check(
        &[main, all],
        &[],
        &["_default/hosts.toml is there and not ours", hides],
    );
    check_for(&["docker.io"], &[main, all], &[], &[hides]);
    check_for(
        &["docker.io"],
        &[main, (ALL, named)],
        &[],
        &["names the mirror, for docker.io too"],
    );
    check_for(
        &["docker.io"],
        &[main, ("etc/containerd/certs.d/_default/ca.crt", "PEM\n")],
        &[],
        &[hides],
    );
    let several = (CONFIG, &*EKS.replace("/etc/docker", "/opt"));
    let later = ("opt/certs.d/_default/hosts.toml", all.1);
    check_for(&["docker.io"], &[several, later], &[], &[hides]);
    let with_port = "etc/containerd/certs.d/r.corp_5000_/hosts.toml";
    check_for(
        &["r.corp:5000"],
        &[main, (with_port, "")],
        &[],
        &["r.corp_5000_/hosts.toml is there"],
    );
    check_for(
        &["r.corp:5000"],
        &[main],
        &["etc/containerd/certs.d/r.corp:5000/hosts.toml"],
        &[],
    );
}

#[test]
fn links_are_read_and_nothing_is_written_through_them() {
    let at = "etc/containerd/certs.d";
    let (real, link) = (("opt/real.toml", V2), (CONFIG, "-> ../../opt/real.toml"));
    check(&[real, link], &[HUB, ALL], &["version 2"]);
    let absolute = (CONFIG, "-> /opt/real.toml");
    check(
        &[real, absolute, (HUB, "-> /opt/other.toml")],
        &[ALL],
        &["has a link on its way"],
    );
    check(
        &[real, link, ("opt/certs.d/", ""), (at, "-> /opt/certs.d")],
        &[],
        &["has a link on its way"],
    );
    check(
        &[(CONFIG, V2), (at, "a file")],
        &[],
        &["cannot be read (Not a directory"],
    );
    check(
        &[(CONFIG, "-> config.toml")],
        &[],
        &["cannot be read (too many links)"],
    );
    check(&[(CONFIG, "-> /nowhere")], &[HUB, ALL], &["no config.toml"]);
}

#[test]
fn systems_that_make_containerds_files_are_told_in_their_own_words() {
    let talos = ("etc/os-release", "NAME=\"Talos\"\nID=talos\n");
    check(
        &[talos, (CONFIG, V2)],
        &[],
        &[
            "mirrors: { \"*\": { endpoints: [\"http://127.0.0.1:7472\"] } }",
            "since Talos 1.12 a document `kind: RegistryMirrorConfig` with `name: \"*\"`",
        ],
    );
    let bottlerocket = ("etc/os-release", "ID='bottlerocket'\n");
    check(
        &[bottlerocket, (CONFIG, V3)],
        &[],
        &["`registry = \"docker.io\"` and `endpoint = [\"http://127.0.0.1:7472\"]`"],
    );
    let template = (
        "var/lib/rancher/k3s/agent/etc/containerd/config.toml.tmpl",
        "{{ template \"base\" . }}\n",
    );
    check(&[template], &[], &["make /etc/rancher/k3s/registries.yaml"]);
    check(
        &[("etc/rancher/rke2/config.yaml", "cni: canal\n")],
        &[],
        &["make /etc/rancher/rke2/registries.yaml"],
    );
    check(
        &[(K3S, "mirrors:\n"), template],
        &[],
        &["add to /etc/rancher/k3s/registries.yaml"],
    );
    check(
        &[(K3S, "mirrors: {}\n"), (CONFIG, V2)],
        &[HUB, ALL],
        &["made by k3s"],
    );
    let named = "# http://127.0.0.1:7472\nmirrors:\n  docker.io:\n    endpoint:\n      - \"http://127.0.0.1:7472\"\n  \"*\":\n    endpoint: [\"https://m\"]\nconfigs:\n  m:\n    auth: { username: u }\n";
    check(
        &[(RKE2, named)],
        &[],
        &[
            "names the mirror for \"docker.io\"",
            "\"*\" in /etc/rancher/rke2/registries.yaml is not advised: before v1.31.7",
        ],
    );
    for path in [
        "etc/rancher/k3s/config.yaml",
        "etc/rancher/k3s/config.yaml.d/x.yaml",
    ] {
        let alone = (path, "x: y\ndisable-default-registry-endpoint: true\n");
        check(
            &[alone],
            &[],
            &["nothing would be pulled once the mirror is gone"],
        );
    }
    let all = "mirrors:\n  \"*\":\n    endpoint: [\"https://m\"]\n";
    let line = "{ \"docker.io\": { endpoint: [\"http://127.0.0.1:7472\", \"https://m\"] } }";
    check(&[(K3S, all)], &[], &[line]);
    let ours = all.replace("https://m", "http://127.0.0.1:7472/");
    check(
        &[(K3S, &ours)],
        &[],
        &[
            "k3s pulls nothing by \"*\" once the mirror is gone; name registries instead",
            "names the mirror for \"docker.io\" by \"*\"",
        ],
    );
    check(
        &[(RKE2, "mirrors: [")],
        &[],
        &["registries.yaml is not understood"],
    );
}

#[test]
fn docker_is_told_and_its_file_left_alone() {
    let key = ("etc/docker/key.json", "{}");
    let line = "\"registry-mirrors\": [\"http://127.0.0.1:7472\"]";
    check(
        &[key],
        &[],
        &[&format!("make /etc/docker/daemon.json with `{{ {line} }}`")],
    );
    check(
        &[(DAEMON, "{\"log-driver\": \"local\"}")],
        &[],
        &[&format!("add to /etc/docker/daemon.json: `{line}`")],
    );
    check(&[(DAEMON, "")], &[], &["add to /etc/docker/daemon.json"]);
    check(
        &[(DAEMON, "{\"registry-mirrors\": [\"https://m\"]}")],
        &[],
        &["names https://m first"],
    );
    check(
        &[(
            DAEMON,
            "{\"registry-mirrors\": [\"http://127.0.0.1:7472/\"]}",
        )],
        &[],
        &["daemon.json names the mirror"],
    );
    check(&[(DAEMON, "{")], &[], &["not a JSON object"]);
    let unit = |line: &str| format!("[Service]\n# --registry-mirror\nExecStart=\n{line}\n");
    let drop_in = "etc/systemd/system/docker.service.d/10-mirror.conf";
    let flagged = unit("ExecStart=/usr/bin/dockerd -H fd:// --registry-mirror=https://m");
    check(
        &[key, (drop_in, &flagged)],
        &[],
        &["as well it would not start", "10-mirror.conf"],
    );
    check(
        &[key, (drop_in, &unit("ExecStart=/usr/bin/dockerd -H fd://"))],
        &[],
        &["make /etc/docker/daemon.json"],
    );
    check_for(
        &["quay.io"],
        &[key],
        &[],
        &["for docker.io alone, which is not asked for"],
    );
}
