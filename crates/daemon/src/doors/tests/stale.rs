//! What a tag meant before.

use super::*;

/// Puts all of `bytes` into the store.
fn hold(world: &World, (bytes, digest): (&[u8], Digest)) {
    let task = types::ContentKey::Digest(digest).task_id();
    let spec = world.spec_of(task, (digest, bytes.len()), Visibility::Public);
    let new = spec.new_content(store::Reserve::Whole);
    let held = world.store.create(new).expect("created");
    let mut writer = held.writer(types::PieceIndex(0)).expect("free");
    writer.write(bytes).expect("written");
    writer.finish(None).expect("marked");
    held.set_complete(digest).expect("complete");
}

#[tokio::test]
async fn an_old_meaning_of_a_tag_is_given_with_all_it_leads_to_until_the_registry_takes_it_away() {
    let (bytes, config) = content(1000);
    let text = format!(r#"{{"config":{{"digest":"{config}"}},"layers":[]}}"#);
    let digest = Digest::sha256(<sha2::Sha256 as sha2::Digest>::digest(&text).into());
    let body = text.clone().into_bytes();
    let world = World::new(move |_| {
        let said = ("docker-content-digest", digest.to_string());
        (200, vec![said], body.clone())
    })
    .await;
    let (by_digest, _) = manifest_ask(&world);
    let ask = ManifestAsk {
        name: ManifestName::Tag("v1".parse().expect("a tag")),
        ..by_digest
    };
    let manifest = HeldManifest {
        digest,
        media_type: "application/x".into(),
        bytes: text.into(),
    };
    world.doors.keep(&ask, &manifest);
    world.doors.manifests.settled().await;
    assert_eq!(world.doors.stale(&ask).await, None, "its blob is not held");
    hold(&world, (&bytes, config));
    let stale = world.doors.stale(&ask).await.expect("it is held");
    assert_eq!(stale.manifest, manifest);
    let other = ManifestAsk {
        repository: "team/other".parse().expect("a repository"),
        ..ask.clone()
    };
    world.doors.said(&other, Some(digest));
    assert_eq!(world.doors.stale(&other).await, None, "it is another's");
    world.doors.said(&ask, None);
    assert_eq!(world.doors.stale(&ask).await, None);
}
