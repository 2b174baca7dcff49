//! One tree, all the way: planned, armed, armed again, taken back.

use runtime::{Host, Undo};

use crate::trees::{Tree, planted, tree, wanted};

/// The tree of `files` gets exactly the files `made` for docker.io and all others, each of `said` is told, doing it twice
/// changes nothing, and undoing brings back the tree as it was.
pub(crate) fn check(files: Tree, made: &[&str], said: &[&str]) {
    check_for(&["docker.io", "_default"], files, made, said);
}

pub(crate) fn check_for(registries: &[&str], files: Tree, made: &[&str], said: &[&str]) {
    let root = planted(files);
    let root = root.path();
    let before = tree(root);
    let host = Host::new(root);
    let wanted = wanted(registries);
    let plan = host.plan(&wanted).expect("a plan");
    assert_eq!(tree(root), before, "a plan changes nothing");
    let planned = plan.files().map(|it| it.path.trim_start_matches('/'));
    let mut planned: Vec<&str> = planned.collect();
    planned.sort_unstable();
    let mut made = made.to_vec();
    made.sort_unstable();
    assert_eq!(planned, made, "{plan:#?}");
    let told = plan.engines.iter().flat_map(|it| {
        let told = [&it.conflicts, &it.next, &it.notes].into_iter().flatten();
        std::iter::once(&it.config).chain(told)
    });
    let told: Vec<&str> = told.map(String::as_str).collect();
    for words in said {
        assert!(
            told.iter().any(|it| it.contains(words)),
            "{words:?} is not in {told:#?}"
        );
    }
    let applied = host.apply(&wanted, false).expect("applied");
    assert!(applied.left.is_empty(), "{applied:?}");
    assert_eq!(applied.plan, plan);
    let after = tree(root);
    for (path, file) in &before {
        assert_eq!(after.get(path), Some(file), "{path} is somebody else's");
    }
    for path in &made {
        let (mode, bytes) = &after[*path];
        let text = std::str::from_utf8(bytes).expect("text");
        assert!(text.parse::<toml::Table>().is_ok(), "{text}");
        assert!(text.starts_with("# Written by `pantala runtime apply`"));
        assert_eq!(mode & 0o777, 0o644);
    }
    let again = host.plan(&wanted).expect("a plan");
    assert_eq!(again.files().count(), made.len(), "{again:#?}");
    let changed = host.apply(&wanted, false).expect("applied").changed;
    assert!(changed.is_empty(), "twice is once: {changed:?}");
    assert_eq!(tree(root), after);
    let undone = host.undo(&Undo::default()).expect("undone");
    assert!(undone.left.is_empty(), "{undone:?}");
    assert_eq!(tree(root), before, "as before");
    let undone = host.undo(&Undo::default()).expect("undone");
    assert!(
        undone.removed.is_empty() && undone.left.is_empty(),
        "{undone:?}"
    );
}
