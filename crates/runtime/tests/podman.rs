//! The configuration of Podman, Buildah, skopeo and CRI-O as it is in the world.

mod check;
mod trees;

use check::{check, check_for};
use runtime::{Host, Undo};
use trees::{planted, wanted};

const PODMAN: &str = "etc/containers/registries.conf";
const OURS: &str = "etc/containers/registries.conf.d/50-pantala.conf";

fn entry(prefix: &str) -> String {
    format!("[[registry]]\n{prefix}\n\n[[registry.mirror]]\nlocation = \"m\"\n")
}

#[test]
fn podman_and_cri_o_get_one_file_of_entries() {
    let default = (PODMAN, "unqualified-search-registries = [\"docker.io\"]\n");
    check(&[default], &[OURS], &["no mirror for all registries"]);
    check(&[("etc/containers/policy.json", "{}")], &[OURS], &[]);
    // The oldest form of that file.
    check(
        &[(PODMAN, "[registries.search]\nregistries = ['docker.io']\n")],
        &[OURS],
        &[],
    );
    check(
        &[(PODMAN, &entry("prefix = \"docker.io\"\nlocation = \"m\""))],
        &[],
        &["has an entry for docker.io"],
    );
    check(
        &[(PODMAN, &entry("location = \"docker.io\""))],
        &[],
        &["has an entry for docker.io"],
    );
    // As OpenShift writes it: an empty prefix is none.
    check(
        &[(PODMAN, &entry("prefix = \"\"\nlocation = \"docker.io\""))],
        &[],
        &["has an entry for docker.io"],
    );
    for prefix in ["", "prefix = \"\"\n", "prefix = \"docker.io\"\n"] {
        let blocked = entry(&format!("{prefix}location = \"docker.io\"\nblocked = true"));
        check(&[(PODMAN, &blocked)], &[], &["blocks docker.io"]);
    }
    let list = |name: &str| format!("[registries.{name}]\nregistries = ['docker.io']\n");
    check(&[(PODMAN, &list("block"))], &[], &["blocks docker.io"]);
    check(
        &[(PODMAN, &list("insecure"))],
        &[],
        &["write /etc/containers/registries.conf in version 2"],
    );
}

#[test]
fn drop_ins_of_others_keep_the_say() {
    let default = (PODMAN, "unqualified-search-registries = [\"docker.io\"]\n");
    let folder = "etc/containers/registries.conf.d";
    let aliases = (
        format!("{folder}/000-shortnames.conf"),
        "[aliases]\n\"alpine\" = \"docker.io/library/alpine\"\n",
    );
    check(&[default, (&aliases.0, aliases.1)], &[OURS], &[]);
    let drop_in = format!("{folder}/99-own.conf");
    check(
        &[default, (&drop_in, &entry("location = \"docker.io\""))],
        &[],
        &["99-own.conf has an entry for docker.io"],
    );
    check(
        &[default, (&drop_in, &entry("prefix = \"docker.io/corp\""))],
        &[OURS],
        &["images of docker.io/corp go by"],
    );
    check(
        &[default, (&drop_in, &entry("prefix = \"*.io\""))],
        &[],
        &["99-own.conf has an entry for docker.io"],
    );
    check(
        &[default, (&drop_in, "x = [")],
        &[],
        &["99-own.conf is not TOML"],
    );
    check(
        &[default, (&format!("{folder}/x.conf.bak"), "x = [")],
        &[OURS],
        &[],
    );
    let ours = entry("location = \"docker.io\"").replace("\"m\"", "\"127.0.0.1:7472\"");
    check(
        &[default, (&drop_in, &ours)],
        &[],
        &["99-own.conf names the mirror"],
    );
    check_for(&["quay.io"], &[default], &[OURS], &[]);
    check_for(
        &["ghcr.io"],
        &[default],
        &[],
        &["add \"ghcr.io\" to mirror.registries"],
    );
    check_for(
        &["registry.corp:5000"],
        &[default],
        &[],
        &["no path of an image may hold a port"],
    );
}

/// Podman 4.3: "rewriting reference: invalid reference format", and no try at the registry itself.
#[test]
fn podman_is_told_no_place_that_it_does_not_understand() {
    let root = planted(&[(PODMAN, "")]);
    let mut wanted = wanted(&["docker.io", "quay.io"]);
    wanted.mirror = "[::1]:7472".parse().expect("an address");
    let plan = Host::new(root.path()).plan(&wanted).expect("a plan");
    assert_eq!(plan.files().count(), 0, "{plan:?}");
    assert!(format!("{plan:?}").contains("set mirror.listen to 127.0.0.1:PORT"));
    for registry in ["registry.corp:5000", "[::1]:5000", "Quay.io"] {
        check_for(&[registry], &[(PODMAN, "")], &[], &["is left out"]);
    }
}

#[test]
fn cri_o_is_to_forget_what_is_taken_back() {
    for (crio, count) in [("etc/crio/", 1), ("etc/crio.conf", 1), ("etc/other", 0)] {
        let root = planted(&[(PODMAN, ""), (crio, "")]);
        let host = Host::new(root.path());
        host.apply(&wanted(&["docker.io"]), false).expect("applied");
        let undone = host.undo(&Undo::default()).expect("undone");
        assert_eq!(undone.next.len(), count, "{undone:?}");
        let again = host.undo(&Undo::default()).expect("undone");
        assert!(again.next.is_empty(), "{again:?}");
    }
}
