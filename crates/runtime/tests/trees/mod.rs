//! Trees of configuration.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use runtime::Wanted;

/// A file with its bytes; a path that ends in `/` is a folder, a content that begins with `-> ` a link.
pub(crate) type Tree<'a> = &'a [(&'a str, &'a str)];

pub(crate) fn wanted(registries: &[&str]) -> Wanted {
    Wanted {
        mirror: SocketAddr::from(([127, 0, 0, 1], 7472)),
        registries: registries.iter().map(ToString::to_string).collect(),
        default: Some("docker.io".into()),
        in_paths: vec!["quay.io".into(), "registry.corp:5000".into()],
        digests_only: false,
    }
}

pub(crate) fn put(root: &Path, path: &str, content: &str) {
    let at = root.join(path);
    fs::create_dir_all(at.parent().expect("a folder")).expect("folders");
    if path.ends_with('/') {
        fs::create_dir_all(at).expect("a folder");
    } else if let Some(target) = content.strip_prefix("-> ") {
        symlink(target, at).expect("a link");
    } else {
        fs::write(at, content).expect("a file");
    }
}

/// Every path below `root` with its mode: files with bytes, links with targets, folders.
pub(crate) fn tree(root: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    fn walk(at: &Path, root: &Path, all: &mut BTreeMap<String, (u32, Vec<u8>)>) {
        for entry in fs::read_dir(at).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(root).expect("below").to_string_lossy();
            let mode = path
                .symlink_metadata()
                .expect("it is there")
                .permissions()
                .mode();
            let bytes = if path.is_symlink() {
                let target = fs::read_link(&path).expect("a link");
                target.into_os_string().into_encoded_bytes()
            } else if path.is_dir() {
                walk(&path, root, all);
                Vec::new()
            } else {
                fs::read(&path).expect("a file")
            };
            all.insert(name.into_owned(), (mode, bytes));
        }
    }
    let mut all = BTreeMap::new();
    walk(root, root, &mut all);
    all
}

pub(crate) fn planted(files: Tree) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    for (path, content) in files {
        put(root.path(), path, content);
    }
    root
}
