//! What others do in between, and what a crash leaves.

mod trees;

use std::{fs, path::Path};

use runtime::{ApplyError, Host, Standing};
use trees::{planted, put, tree, wanted};

const CONFIG: &str = "etc/containerd/config.toml";
const HUB: &str = "etc/containerd/certs.d/docker.io/hosts.toml";
const ALL: &str = "etc/containerd/certs.d/_default/hosts.toml";
const RECORD: &str = "var/lib/pantala-runtime/written.json";
const V2: &str = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n";

fn apply(host: &Host, force: bool) -> Result<Vec<String>, ApplyError> {
    host.apply(&host.plan(&wanted(&["docker.io", "_default"]))?, force)
}

fn standing(host: &Host) -> Vec<Standing> {
    let standing = host.standing().expect("a record");
    standing.into_iter().map(|(_, how)| how).collect()
}

fn text(root: &Path, path: &str) -> String {
    fs::read_to_string(root.join(path)).expect("it is there")
}

#[test]
fn a_file_that_was_edited_is_kept_until_it_is_forced() {
    for is_undone in [true, false] {
        let root = planted(&[(CONFIG, V2)]);
        let (root, before) = (root.path(), tree(root.path()));
        let host = Host::new(root);
        apply(&host, false).expect("applied");
        let whole = tree(root);
        put(root, HUB, "# mine\n");
        assert!(standing(&host).contains(&Standing::Changed));
        assert!(matches!(host.undo(false), Err(ApplyError::Changed(path)) if path.ends_with(HUB)));
        assert!(matches!(apply(&host, false), Err(ApplyError::Changed(_))));
        assert_eq!(text(root, HUB), "# mine\n");
        if is_undone {
            host.undo(true).expect("undone");
            assert_eq!(tree(root), before);
        } else {
            apply(&host, true).expect("applied");
            assert_eq!(tree(root), whole);
        }
    }
}

#[test]
fn what_a_crash_between_two_files_left_is_mended_by_both() {
    for (is_undone, gone) in [(true, HUB), (true, ALL), (false, HUB), (false, ALL)] {
        let root = planted(&[(CONFIG, V2)]);
        let (root, before) = (root.path(), tree(root.path()));
        let host = Host::new(root);
        apply(&host, false).expect("applied");
        let whole = tree(root);
        // The record names both, one is not there, and its temporary file is; that of the record is too.
        fs::remove_file(root.join(gone)).expect("removed");
        for path in [gone, RECORD] {
            let beside = root.join(path).with_file_name(".pantala-runtime-x");
            fs::write(beside, "half").expect("written");
        }
        assert_eq!(standing(&host).len(), 2);
        assert!(standing(&host).contains(&Standing::Gone));
        if is_undone {
            host.undo(false).expect("undone");
            assert_eq!(tree(root), before);
        } else {
            assert_eq!(apply(&host, false).expect("applied").len(), 1);
            assert_eq!(tree(root), whole);
        }
    }
}

#[test]
fn what_a_crash_before_the_first_record_or_after_the_last_left_is_mended_too() {
    let folder = "var/lib/pantala-runtime";
    for left in [vec![], vec![".pantala-runtime-x"]] {
        let root = planted(&[(CONFIG, V2), ("var/lib/", "")]);
        let (root, before) = (root.path(), tree(root.path()));
        put(root, &format!("{folder}/"), "");
        for name in left {
            put(root, &format!("{folder}/{name}"), "half");
        }
        assert!(Host::new(root).undo(false).expect("undone").is_empty());
        assert_eq!(tree(root), before);
    }
}

#[test]
fn a_mirror_that_moved_is_followed() {
    let root = planted(&[(CONFIG, V2)]);
    let (root, before) = (root.path(), tree(root.path()));
    let host = Host::new(root);
    apply(&host, false).expect("applied");
    let mut other = wanted(&["docker.io"]);
    other.mirror.set_port(9000);
    let plan = host.plan(&other).expect("a plan");
    let changed = host.apply(&plan, false).expect("applied");
    assert_eq!(
        changed.len(),
        2,
        "one is written anew, one is wanted no more"
    );
    assert!(text(root, HUB).contains("http://127.0.0.1:9000"));
    assert!(!root.join(ALL).exists());
    host.undo(false).expect("undone");
    assert_eq!(tree(root), before);
}

#[test]
fn what_others_put_beside_ours_stays() {
    let root = planted(&[(CONFIG, V2)]);
    let host = Host::new(root.path());
    apply(&host, false).expect("applied");
    let quay = "etc/containerd/certs.d/quay.io/hosts.toml";
    put(root.path(), quay, "server = \"https://m\"\n");
    host.undo(false).expect("undone");
    assert!(root.path().join(quay).exists());
    assert!(!root.path().join(HUB).exists());
    assert!(!root.path().join(RECORD).exists());
}

#[test]
fn a_lost_record_makes_ours_ours_again_only_as_we_would_write_it() {
    let root = planted(&[(CONFIG, V2)]);
    let host = Host::new(root.path());
    apply(&host, false).expect("applied");
    fs::remove_file(root.path().join(RECORD)).expect("removed");
    assert!(apply(&host, false).expect("applied").is_empty());
    assert_eq!(standing(&host), [Standing::Armed; 2]);
    fs::remove_file(root.path().join(RECORD)).expect("removed");
    let edited = text(root.path(), HUB).replace("1s", "2s");
    put(root.path(), HUB, &edited);
    let plan = host.plan(&wanted(&["docker.io"])).expect("a plan");
    assert_eq!(plan.files().count(), 0);
    assert!(format!("{plan:?}").contains("has our mark and is not in our record"));
}

#[test]
fn a_record_makes_nobody_elses_file_ours() {
    let root = planted(&[(CONFIG, V2), ("etc/passwd", "root\n")]);
    let host = Host::new(root.path());
    apply(&host, false).expect("applied");
    // sha256 of "root\n".
    let digest = "sha256:53175bcc0524f37b47062fafdda28e3f8eb91d519ca0a184ca71bbebe72f969a";
    let forged =
        format!("{{\"version\":1,\"files\":{{\"/etc/passwd\":[\"{digest}\"]}},\"folders\":[]}}");
    put(root.path(), RECORD, &forged);
    let undone = host.undo(false);
    assert!(matches!(undone, Err(ApplyError::Unmarked(_))), "{undone:?}");
    assert_eq!(text(root.path(), "etc/passwd"), "root\n");
}

#[test]
fn a_record_of_a_later_release_stops_everything() {
    for record in ["{\"version\":2,\"files\":{},\"folders\":[]}", "{"] {
        let root = planted(&[(CONFIG, V2), (RECORD, record)]);
        let before = tree(root.path());
        let host = Host::new(root.path());
        assert!(matches!(apply(&host, false), Err(ApplyError::Record(_))));
        assert!(matches!(host.undo(true), Err(ApplyError::Record(_))));
        assert_eq!(tree(root.path()), before);
    }
}

#[test]
fn nothing_is_written_through_a_link_to_where_the_record_belongs() {
    let root = planted(&[(CONFIG, V2), ("var/lib", "-> /elsewhere")]);
    let before = tree(root.path());
    let host = Host::new(root.path());
    assert!(matches!(apply(&host, false), Err(ApplyError::Io { .. })));
    assert_eq!(tree(root.path()), before);
}

#[test]
fn two_that_apply_at_once_leave_what_one_would() {
    let root = planted(&[(CONFIG, V2)]);
    let before = tree(root.path());
    let host = Host::new(root.path());
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| apply(&host, false)))
            .collect();
        for run in runs {
            run.join().expect("no panic").expect("applied");
        }
    });
    assert_eq!(standing(&host), [Standing::Armed; 2]);
    host.undo(false).expect("undone");
    assert_eq!(tree(root.path()), before);
}
