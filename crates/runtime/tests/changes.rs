//! What others do in between, and what a crash leaves.

mod trees;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use runtime::{Applied, ApplyError, Host, Standing, Undo};
use trees::{planted, put, tree, wanted};

const CONFIG: &str = "etc/containerd/config.toml";
const FOLDER: &str = "etc/containerd/certs.d";
const HUB: &str = "etc/containerd/certs.d/docker.io/hosts.toml";
const ALL: &str = "etc/containerd/certs.d/_default/hosts.toml";
const RECORD: &str = "var/lib/pantala-runtime/written.json";
const V2: &str = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n";
const BOTH: [&str; 2] = ["docker.io", "_default"];

fn try_apply(host: &Host, force: bool) -> Result<Applied, ApplyError> {
    host.apply(&wanted(&BOTH), force)
}

fn apply(host: &Host) -> Vec<String> {
    let applied = try_apply(host, false).expect("applied");
    assert!(applied.left.is_empty(), "{applied:?}");
    applied.changed
}

/// What is removed when nothing stays.
fn undo(host: &Host) -> Vec<String> {
    let undone = host.undo(&Undo::default()).expect("undone");
    assert!(undone.left.is_empty(), "{undone:?}");
    undone.removed
}

fn forced() -> Undo {
    Undo {
        force: true,
        ..Undo::default()
    }
}

fn standing_for(host: &Host, registries: &[&str], port: u16) -> Vec<Standing> {
    let mut wanted = wanted(registries);
    wanted.mirror.set_port(port);
    let plan = host.plan(&wanted).expect("a plan");
    let standing = host.standing(&plan, &wanted).expect("a record");
    standing.into_values().collect()
}

fn standing(host: &Host) -> Vec<Standing> {
    standing_for(host, &BOTH, 7472)
}

fn text(root: &Path, path: &str) -> String {
    fs::read_to_string(root.join(path)).expect("it is there")
}

#[test]
fn a_file_that_was_edited_is_kept_until_it_is_forced_and_holds_up_no_other() {
    for is_undone in [true, false] {
        let root = planted(&[(CONFIG, V2)]);
        let (root, before) = (root.path(), tree(root.path()));
        let host = Host::new(root);
        apply(&host);
        let whole = tree(root);
        put(root, HUB, "# mine\n");
        assert!(standing(&host).contains(&Standing::Changed));
        // The other one goes away, and comes back.
        let undone = host.undo(&Undo::default()).expect("undone");
        assert!(matches!(&undone.left[..], [ApplyError::Changed(path)] if path.ends_with(HUB)));
        assert_eq!(undone.removed, [format!("/{ALL}")]);
        assert!(!root.join(ALL).parent().expect("a folder").exists());
        let applied = try_apply(&host, false).expect("applied");
        assert!(matches!(&applied.left[..], [ApplyError::Changed(path)] if path.ends_with(HUB)));
        assert_eq!(applied.changed, [format!("/{ALL}")]);
        assert_eq!(text(root, HUB), "# mine\n");
        if is_undone {
            host.undo(&forced()).expect("undone");
            assert_eq!(tree(root), before);
        } else {
            try_apply(&host, true).expect("applied");
            assert_eq!(tree(root), whole);
        }
    }
}

#[test]
fn a_file_that_is_given_up_is_its_editors() {
    let root = planted(&[(CONFIG, V2)]);
    let root = root.path();
    let host = Host::new(root);
    apply(&host);
    let forget = |path: &str| {
        host.undo(&Undo {
            forget: vec![format!("/{path}")],
            ..Undo::default()
        })
    };
    assert!(matches!(forget(CONFIG), Err(ApplyError::Stranger(_))));
    // As long as our mark is on it, it would be taken for one of ours.
    assert!(matches!(forget(HUB), Err(ApplyError::Marked(_))));
    put(root, HUB, "# mine\n");
    let undone = forget(HUB).expect("undone");
    assert!(undone.left.is_empty(), "{undone:?}");
    assert_eq!(undone.removed, [format!("/{ALL}")]);
    assert_eq!(text(root, HUB), "# mine\n");
    assert!(!root.join(RECORD).exists());
}

#[test]
fn what_a_crash_between_two_files_left_is_mended_by_both() {
    for (is_undone, gone) in [(true, HUB), (true, ALL), (false, HUB), (false, ALL)] {
        let root = planted(&[(CONFIG, V2)]);
        let (root, before) = (root.path(), tree(root.path()));
        let host = Host::new(root);
        apply(&host);
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
            undo(&host);
            assert_eq!(tree(root), before);
        } else {
            assert_eq!(apply(&host).len(), 1);
            assert_eq!(tree(root), whole);
        }
    }
}

#[test]
fn what_a_crash_before_the_first_record_or_after_the_last_left_is_mended_too() {
    let folder = "var/lib/pantala-runtime";
    for left in [vec![], vec!["lock"], vec!["lock", ".pantala-runtime-x"]] {
        let root = planted(&[(CONFIG, V2), ("var/lib/", "")]);
        let (root, before) = (root.path(), tree(root.path()));
        put(root, &format!("{folder}/"), "");
        for name in left {
            put(root, &format!("{folder}/{name}"), "half");
        }
        assert!(undo(&Host::new(root)).is_empty());
        assert_eq!(tree(root), before);
    }
}

#[test]
fn a_mirror_that_moved_is_followed() {
    let root = planted(&[(CONFIG, V2)]);
    let (root, before) = (root.path(), tree(root.path()));
    let host = Host::new(root);
    apply(&host);
    let mut other = wanted(&["docker.io"]);
    other.mirror.set_port(9000);
    let changed = host.apply(&other, false).expect("applied").changed;
    assert_eq!(
        changed.len(),
        2,
        "one is written anew, one is wanted no more"
    );
    assert!(text(root, HUB).contains("http://127.0.0.1:9000"));
    // An empty folder would hide whatever others put into another one.
    assert!(!root.join(ALL).parent().expect("a folder").exists());
    undo(&host);
    assert_eq!(tree(root), before);
}

#[test]
fn what_stands_is_told_by_what_is_planned() {
    let root = planted(&[(CONFIG, V2)]);
    let host = Host::new(root.path());
    apply(&host);
    assert_eq!(standing(&host), [Standing::Armed; 2]);
    assert_eq!(standing_for(&host, &BOTH, 9000), [Standing::Elsewhere; 2]);
    let others = [Standing::Unplanned, Standing::Armed];
    assert_eq!(standing_for(&host, &["docker.io"], 7472), others);
    let mut digests = wanted(&BOTH);
    digests.digests_only = true;
    let plan = host.plan(&digests).expect("a plan");
    let standing = host.standing(&plan, &digests).expect("a record");
    assert!(standing.into_values().all(|it| it == Standing::Outdated));
}

#[test]
fn who_is_to_take_back_his_own_leaves_what_points_at_another_mirror() {
    let root = planted(&[(CONFIG, V2)]);
    let host = Host::new(root.path());
    apply(&host);
    let whole = tree(root.path());
    let mut mirror = wanted(&BOTH).mirror;
    assert_eq!(host.mirror().expect("a record"), Some(mirror));
    let of = |mirror| Undo {
        of: Some(mirror),
        ..Undo::default()
    };
    mirror.set_port(9000);
    assert!(matches!(
        host.undo(&of(mirror)),
        Err(ApplyError::OtherMirror(_))
    ));
    assert_eq!(tree(root.path()), whole);
    mirror.set_port(7472);
    assert_eq!(host.undo(&of(mirror)).expect("undone").removed.len(), 2);
}

#[test]
fn what_others_put_beside_ours_stays() {
    let root = planted(&[(CONFIG, V2)]);
    let host = Host::new(root.path());
    apply(&host);
    let quay = "etc/containerd/certs.d/quay.io/hosts.toml";
    put(root.path(), quay, "server = \"https://m\"\n");
    undo(&host);
    assert!(root.path().join(quay).exists());
    assert!(!root.path().join(HUB).exists());
    assert!(!root.path().join(RECORD).exists());
}

#[test]
fn a_lost_record_makes_ours_ours_again_only_as_we_would_write_it() {
    let root = planted(&[(CONFIG, V2)]);
    let host = Host::new(root.path());
    apply(&host);
    fs::remove_file(root.path().join(RECORD)).expect("removed");
    assert_eq!(standing(&host), [Standing::Unrecorded; 2]);
    assert!(apply(&host).is_empty());
    assert_eq!(standing(&host), [Standing::Armed; 2]);
    fs::remove_file(root.path().join(RECORD)).expect("removed");
    let edited = text(root.path(), HUB).replace("1s", "2s");
    put(root.path(), HUB, &edited);
    let plan = host.plan(&wanted(&["docker.io"])).expect("a plan");
    assert_eq!(plan.files().count(), 0);
    assert!(format!("{plan:?}").contains("has our mark and is not in our record"));
    try_apply(&host, true).expect("applied");
    assert_eq!(standing(&host), [Standing::Armed; 2]);
}

#[test]
fn what_a_lost_record_left_is_told_and_removed_by_force_alone() {
    let quay = format!("{FOLDER}/quay.io/hosts.toml");
    let podman = "etc/containers/registries.conf.d/50-pantala.conf";
    let mine = format!("{FOLDER}/ghcr.io/hosts.toml");
    let root = planted(&[(CONFIG, V2), (&mine, "# mine\n"), ("etc/containers/x", "")]);
    let root = root.path();
    let host = Host::new(root);
    let wanted = wanted(&["docker.io", "quay.io"]);
    host.apply(&wanted, false).expect("applied");
    fs::remove_dir_all(root.join("var")).expect("removed");
    let before = tree(root);
    let undone = host.undo(&Undo::default()).expect("undone");
    assert_eq!(undone.left.len(), 3, "{undone:?}");
    for error in &undone.left {
        assert!(matches!(error, ApplyError::Unrecorded(_)), "{error:?}");
    }
    assert_eq!(tree(root), before);
    // Whatever is planned by now.
    assert_eq!(
        standing_for(&host, &["ghcr.io"], 9000),
        [Standing::Unrecorded; 3]
    );
    assert_eq!(host.undo(&forced()).expect("undone").removed.len(), 3);
    for path in [HUB, &quay, podman] {
        assert!(!root.join(path).exists(), "{path}");
    }
    assert!(!root.join(HUB).parent().expect("a folder").exists());
    assert_eq!(text(root, &mine), "# mine\n");
    assert!(!root.join("var").exists());
}

#[test]
fn with_nothing_to_do_nothing_is_left_behind_either() {
    for force in [false, true] {
        let root = planted(&[("etc/hostname", "a\n")]);
        let before = tree(root.path());
        try_apply(&Host::new(root.path()), force).expect("applied");
        assert_eq!(tree(root.path()), before);
    }
}

fn record_of(files: &[&str], folders: &[&str]) -> String {
    // sha256 of "root\n".
    let digest = "sha256:53175bcc0524f37b47062fafdda28e3f8eb91d519ca0a184ca71bbebe72f969a";
    let files = files.iter().map(|path| format!("{path:?}:[{digest:?}]"));
    let files = files.collect::<Vec<_>>().join(",");
    format!("{{\"version\":1,\"files\":{{{files}}},\"folders\":{folders:?}}}")
}

#[test]
fn a_record_makes_nobody_elses_file_ours() {
    let root = planted(&[(CONFIG, V2), ("etc/passwd", "root\n")]);
    let host = Host::new(root.path());
    put(root.path(), RECORD, &record_of(&["/etc/passwd"], &[]));
    let undone = host.undo(&Undo::default()).expect("undone");
    assert!(
        matches!(&undone.left[..], [ApplyError::Unmarked(_)]),
        "{undone:?}"
    );
    assert_eq!(text(root.path(), "etc/passwd"), "root\n");
    assert!(root.path().join(RECORD).exists());
}

#[test]
fn a_record_with_detours_is_none() {
    for (files, folders) in [
        (&["/etc/../../outside"][..], &[][..]),
        (&["etc/passwd"], &[]),
        (&["/etc//passwd"], &[]),
        (&[], &["/etc/./x"]),
        (&[], &["/.."]),
    ] {
        let record = record_of(files, folders);
        let root = planted(&[(CONFIG, V2), (RECORD, &record)]);
        let host = Host::new(root.path());
        let before = tree(root.path());
        assert!(
            matches!(host.undo(&forced()), Err(ApplyError::Record(_))),
            "{record}"
        );
        assert!(matches!(try_apply(&host, true), Err(ApplyError::Record(_))));
        let kept = |tree: std::collections::BTreeMap<String, _>| tree.contains_key(RECORD);
        assert!(kept(tree(root.path())) && kept(before));
    }
}

/// A folder on the way was moved and linked to, after we wrote below it.
#[test]
fn nothing_is_removed_through_a_link_or_taken_for_gone() {
    for target in ["/elsewhere", "/nowhere"] {
        let root = planted(&[(CONFIG, V2), ("elsewhere/", "")]);
        let root = root.path();
        let host = Host::new(root);
        apply(&host);
        fs::rename(root.join(FOLDER), root.join("elsewhere/certs.d")).expect("moved");
        put(root, FOLDER, &format!("-> {target}/certs.d"));
        put(
            root,
            "elsewhere/certs.d/docker.io/.pantala-runtime-x",
            "half",
        );
        let before = tree(root);
        for undo in [Undo::default(), forced()] {
            let undone = host.undo(&undo).expect("undone");
            assert_eq!(undone.left.len(), 2, "{undone:?}");
            for error in &undone.left {
                assert!(matches!(error, ApplyError::Obstacle(..)), "{error:?}");
            }
            assert!(root.join(RECORD).exists());
        }
        for (path, file) in tree(root) {
            assert!(path.starts_with("var") || before[&path] == file, "{path}");
        }
        assert_eq!(standing(&host), [Standing::Changed; 2]);
    }
}

#[test]
fn a_record_of_a_later_release_stops_everything() {
    for record in ["{\"version\":2,\"files\":{},\"folders\":[]}", "{"] {
        let root = planted(&[(CONFIG, V2), (RECORD, record)]);
        let host = Host::new(root.path());
        assert!(matches!(
            try_apply(&host, false),
            Err(ApplyError::Record(_))
        ));
        assert!(matches!(host.undo(&forced()), Err(ApplyError::Record(_))));
        assert_eq!(text(root.path(), RECORD), record);
        assert!(!root.path().join(HUB).exists());
    }
}

#[test]
fn a_record_that_does_not_say_whose_it_is_is_read() {
    let root = planted(&[(CONFIG, V2), (RECORD, &record_of(&["/etc/gone"], &[]))]);
    let host = Host::new(root.path());
    assert_eq!(host.mirror().expect("a record"), None);
    let of = Some(wanted(&[]).mirror);
    host.undo(&Undo {
        of,
        ..Undo::default()
    })
    .expect("undone");
    assert!(!root.path().join(RECORD).exists());
}

/// Anybody may lock what he may open.
#[test]
fn a_lock_that_others_take_holds_up_nothing_for_long() {
    let root = planted(&[(CONFIG, V2)]);
    let root = root.path();
    let host = Host::new(root);
    apply(&host);
    let folder = root.join(RECORD).parent().expect("a folder").to_owned();
    let opened = fs::File::open(&folder).expect("a folder");
    opened.lock().expect("locked");
    apply(&host);
    let at = folder.join("lock");
    let mode = fs::metadata(&at).expect("a lock").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else opens it");
    let lock = fs::File::open(&at).expect("a lock");
    lock.lock().expect("locked");
    assert!(matches!(host.undo(&forced()), Err(ApplyError::Busy)));
    assert!(matches!(try_apply(&host, false), Err(ApplyError::Busy)));
    drop(lock);
    undo(&host);
    assert!(!folder.exists());
}

#[test]
fn nothing_is_written_through_a_link_to_where_the_record_belongs() {
    let root = planted(&[(CONFIG, V2), ("var/lib", "-> /elsewhere")]);
    let before = tree(root.path());
    let host = Host::new(root.path());
    assert!(matches!(
        try_apply(&host, false),
        Err(ApplyError::Obstacle(..))
    ));
    assert_eq!(tree(root.path()), before);
}

#[test]
fn two_that_apply_at_once_leave_what_one_would() {
    let root = planted(&[(CONFIG, V2)]);
    let before = tree(root.path());
    let host = Host::new(root.path());
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8).map(|_| scope.spawn(|| apply(&host))).collect();
        for run in runs {
            run.join().expect("no panic");
        }
    });
    assert_eq!(standing(&host), [Standing::Armed; 2]);
    undo(&host);
    assert_eq!(tree(root.path()), before);
}
