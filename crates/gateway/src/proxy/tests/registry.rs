//! Registries behind the proxy: what the mirror would say.

use sha2::Digest as _;

use super::*;
use crate::testing::Scripted;

const TAG: &str = "/v2/a/b/manifests/v1";

fn manifest() -> (&'static str, String) {
    let text = "{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\"}";
    let digest = types::Digest::sha256(sha2::Sha256::digest(text).into());
    (text, digest.to_string())
}

/// A proxy before a registry that has this for the tag.
async fn registry(text: &str) -> Harness {
    let proxy = Harness::of(1000, &["r.test registry", "c.test content"]).await;
    let answer = Scripted {
        status: 200,
        headers: vec![
            (
                "content-type",
                "application/vnd.oci.image.manifest.v1+json".into(),
            ),
            ("docker-content-digest", manifest().1),
        ],
        body: vec![Some(bytes::Bytes::copy_from_slice(text.as_bytes()))],
    };
    proxy.registry.script(TAG, answer);
    proxy
}

#[tokio::test]
async fn a_tag_is_asked_of_its_registry_with_the_clients_words_and_kept() {
    let (text, digest) = manifest();
    let proxy = registry(text).await;
    let url = format!("http://r.test{TAG}");
    let lines = ["Authorization: Bearer t", "X-Dragonfly-Tag: t"];
    for asked in 1..3 {
        let reply = proxy.ask("GET", &url, &lines).await;
        assert!(
            reply.starts_with("HTTP/1.1 200") && reply.ends_with(text),
            "{reply}"
        );
        let seen = proxy.registry.seen.lock().expect("a lock");
        assert_eq!((seen.len(), seen[0].registry.as_str()), (asked, "r.test"));
        assert_eq!(seen[0].headers["authorization"], "Bearer t");
        assert!(!seen[0].headers.contains_key("x-dragonfly-tag"));
    }
    let by_digest = format!("http://r.test/v2/a/b/manifests/{digest}");
    let reply = proxy.ask("GET", &by_digest, &lines).await;
    assert!(reply.ends_with(text), "{reply}");
    assert_eq!(
        proxy.registry.seen.lock().expect("a lock").len(),
        2,
        "it is held"
    );
    assert!(proxy.sent().is_empty());
}

#[tokio::test]
async fn a_manifest_that_is_not_what_was_asked_for_goes_to_nobody() {
    let proxy = registry("another").await;
    let reply = proxy.ask("GET", &format!("http://r.test{TAG}"), &[]).await;
    assert!(reply.starts_with("HTTP/1.1 502"), "{reply}");
    assert!(!reply.contains("another"), "{reply}");
}

#[tokio::test]
async fn a_blob_goes_by_its_digest_and_all_else_goes_on() {
    let proxy = registry(manifest().0).await;
    let blob = format!("http://r.test/v2/a/b/blobs/{}", proxy.content.digest);
    let reply = proxy.ask("GET", &blob, &["Authorization: Bearer t"]).await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    assert_eq!((proxy.asks(), proxy.sent().len()), (1, 0));
    for (method, url) in [
        ("GET", "http://r.test/v2/".to_owned()),
        ("GET", "http://r.test/v2/a/b/tags/list".to_owned()),
        ("GET", "http://r.test/token?scope=x".to_owned()),
        ("DELETE", format!("http://r.test{TAG}")),
        // Another server than the mirror would ask.
        ("GET", format!("https://r.test{TAG}")),
        // The registry is away, and its own word may come another way.
        ("GET", "http://r.test/v2/a/b/manifests/v2".to_owned()),
        ("GET", format!("http://c.test{TAG}")),
    ] {
        let before = proxy.sent().len();
        let reply = proxy.ask(method, &url, &["Authorization: Bearer t"]).await;
        assert!(reply.starts_with("HTTP/1.1 200"), "{url}: {reply}");
        let sent = proxy.sent();
        assert_eq!((sent.len(), &*sent[before].url), (before + 1, &*url));
    }
}
