use std::fs;

use super::*;

const CONFIG: &str = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n";

/// Between the plan and the writing somebody makes a file of the same name.
#[test]
fn a_file_that_came_after_the_plan_is_not_replaced() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = root.path().join("etc/containerd");
    fs::create_dir_all(&folder).expect("folders");
    fs::write(folder.join("config.toml"), CONFIG).expect("written");
    let host = Host::new(root.path());
    let wanted = Wanted {
        registries: vec!["docker.io".into(), "quay.io".into(), "ghcr.io".into()],
        ..Wanted::nothing()
    };
    let plan = host.plan(&wanted).expect("a plan");
    let file = plan.files().next().expect("a file").clone();
    let same = file.content.clone();
    for (name, content) in [("docker.io", "# mine\n"), ("ghcr.io", &same)] {
        let own = folder.join("certs.d").join(name);
        fs::create_dir_all(&own).expect("folders");
        fs::write(own.join("hosts.toml"), content).expect("written");
    }
    // Even at the last moment.
    let path = "/etc/containerd/certs.d/docker.io/hosts.toml".to_owned();
    let last = Owned { path, ..file };
    assert!(!host.write(&last, Over::Nothing).expect("looked at"));
    let applied = host.carry_out(plan, Record::default(), false);
    let applied = applied.expect("applied");
    let hub = "/etc/containerd/certs.d/docker.io/hosts.toml";
    assert_eq!(
        fs::read_to_string(host.files.at(hub)).expect("there"),
        "# mine\n"
    );
    let told = &applied.plan.engines[0].conflicts;
    assert!(
        told[0].contains("docker.io/hosts.toml is there and not ours"),
        "{told:?}"
    );
    assert_eq!(
        applied.changed,
        ["/etc/containerd/certs.d/quay.io/hosts.toml"]
    );
    assert_eq!(host.record().expect("a record").files.len(), 2);
    host.undo(&Undo::default()).expect("undone");
    assert!(host.files.at(hub).exists());
}
