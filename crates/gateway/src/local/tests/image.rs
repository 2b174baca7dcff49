//! What a `get` of a whole image needs: manifests, and several contents in one output.

use super::{super::ManifestRequest, super::client::Assembly, *};

#[tokio::test]
async fn a_manifest_comes_whole_and_is_checked_by_who_asked() {
    let harness = Harness::of(1);
    let ask = |image: String| ManifestRequest {
        image,
        headers: Vec::new(),
    };
    let client = harness.client();
    let manifest = client.manifest(ask("quay.io/a/b:v1".into())).await;
    let manifest = manifest.expect("a manifest");
    assert_eq!(
        (manifest.media_type.as_str(), manifest.bytes.len()),
        ("a/b", 100_000)
    );
    let other = format!("quay.io/a/b@sha256:{}", "ab".repeat(32));
    let refused = client.manifest(ask(other)).await;
    assert!(matches!(refused, Err(ClientError::Failed(why)) if why.code == FailureCode::Corrupt));
    let refused = client.manifest(ask("alpine".into())).await;
    assert!(
        matches!(refused, Err(ClientError::Failed(why)) if why.code == FailureCode::BadRequest)
    );
}

#[tokio::test]
async fn several_contents_make_one_file_or_stream() {
    let harness = Harness::of(3 << 20);
    let held = harness.client().hold(harness.blob(), &mut |_| {}).await;
    let held = held.expect("held");
    assert_eq!(held.length(), 3 << 20);
    let mut stream = Vec::new();
    let target = harness.target();
    let file = Output::File {
        path: &target,
        overwrite: false,
    };
    for output in [Output::Stream(&mut stream), file] {
        let mut assembly = Assembly::begin(output).await.expect("begun");
        assembly.write(b"head".to_vec()).await.expect("written");
        assembly.append(&held).await.expect("appended");
        assembly.write(b"tail".to_vec()).await.expect("written");
        assembly.publish().await.expect("published");
    }
    let expected = [b"head", &harness.content.bytes[..], b"tail"].concat();
    assert!(stream == expected && fs::read(&target).expect("a file") == expected);
}
