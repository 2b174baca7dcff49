//! What an image consists of, from its manifests: which blobs to bring, and what an OCI image layout says of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Value, json};
use types::Digest;

/// A platform, as an image's index and `--platform` name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Platform {
    pub(super) os: String,
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) variant: Option<String>,
}

/// Which platforms of an image are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Platforms {
    All,
    One(Platform),
}

impl Platforms {
    /// What containers on this host run.
    pub(crate) fn here() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::One(Platform {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: None,
        })
    }
}

impl std::str::FromStr for Platforms {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" {
            return Ok(Self::All);
        }
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match *parts {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant.to_owned())),
            _ => return Err("a platform is OS/ARCHITECTURE[/VARIANT], or all".into()),
        };
        Ok(Self::One(Platform {
            os: os.into(),
            architecture: architecture.into(),
            variant,
        }))
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(to, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl Platform {
    /// Whether an image for `self` is what was asked for. A variant counts only if it was said.
    pub(super) fn is(&self, asked: &Self) -> bool {
        self.os == asked.os
            && self.architecture == asked.architecture
            && (asked.variant.is_none() || self.variant == asked.variant)
    }
}

/// What a manifest says of another content.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(deserialize_with = "digest")]
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) platform: Option<Platform>,
}

fn digest<'de, D: Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(D::Error::custom)
}

/// A manifest of either kind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Document {
    /// Of several platforms.
    Index(Vec<Descriptor>),
    /// Of one.
    Image {
        config: Descriptor,
        layers: Vec<Descriptor>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

/// A manifest, and its media type by its own word, or by its kind if it gives none.
pub(crate) fn read(bytes: &[u8]) -> Result<(Document, String), String> {
    let raw: Raw = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if raw.schema_version != 2 {
        return Err(format!("it is of schema {}", raw.schema_version));
    }
    let (document, kind) = match (raw.manifests, raw.config) {
        (Some(manifests), None) => (
            Document::Index(manifests),
            "application/vnd.oci.image.index.v1+json",
        ),
        (None, Some(config)) => (
            Document::Image {
                config,
                layers: raw.layers,
            },
            "application/vnd.oci.image.manifest.v1+json",
        ),
        _ => return Err("it is neither an image nor an index".into()),
    };
    Ok((document, raw.media_type.unwrap_or_else(|| kind.into())))
}

/// The manifest among `manifests` for `asked`: one that says no variant rather than one that does.
pub(crate) fn choose(manifests: &[Descriptor], asked: &Platform) -> Option<Descriptor> {
    let fits = |one: &&Descriptor| {
        let platform = one.platform.as_ref();
        platform.is_some_and(|platform| platform.is(asked))
    };
    let has_variant = |one: &&Descriptor| {
        let platform = one.platform.as_ref();
        platform.is_some_and(|platform| platform.variant.is_some())
    };
    manifests
        .iter()
        .filter(fits)
        .min_by_key(has_variant)
        .cloned()
}

/// All that a layout of one image holds.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// What is fetched blob by blob, with its length.
    pub(super) blobs: BTreeMap<Digest, u64>,
    /// What is here already: manifests.
    pub(super) documents: BTreeMap<Digest, Vec<u8>>,
}

impl Plan {
    /// Manifests of one image, together: they are held in memory. 1,000 platforms of usual ones take some MB.
    const DOCUMENTS_MAX: usize = 64 << 20;

    /// Takes a manifest in, and the blobs it names. Refused is what no honest image is.
    pub(super) fn add(
        &mut self,
        digest: Digest,
        bytes: &[u8],
        document: &Document,
    ) -> Result<(), String> {
        self.documents.insert(digest, bytes.to_vec());
        let held: usize = self.documents.values().map(Vec::len).sum();
        if held > Self::DOCUMENTS_MAX {
            return Err(format!(
                "its manifests take more than {} MiB",
                Self::DOCUMENTS_MAX >> 20
            ));
        }
        if let Document::Image { config, layers } = document {
            let named = std::iter::once(config).chain(layers);
            self.blobs.extend(named.map(|one| (one.digest, one.size)));
        }
        let mut sizes = self.blobs.values();
        let total = sizes.try_fold(0_u64, |sum, size| sum.checked_add(*size));
        match total.filter(|total| i64::try_from(*total).is_ok()) {
            Some(_) => Ok(()),
            None => Err("it names more bytes than a file can have".into()),
        }
    }

    /// Bytes of all blobs.
    pub(super) fn total(&self) -> u64 {
        self.blobs.values().sum()
    }

    /// `index.json`: the one image, with the names by which skopeo, podman and containerd know it again.
    pub(super) fn index(&self, root: &Root, name: (&str, Option<&str>)) -> Vec<u8> {
        let (full, tag) = name;
        let mut annotations = json!({ "io.containerd.image.name": full });
        if let Some(tag) = tag {
            annotations["org.opencontainers.image.ref.name"] = tag.into();
        }
        let mut descriptor = json!({
            "mediaType": root.media_type,
            "digest": root.digest.to_string(),
            "size": self.documents.get(&root.digest).map_or(0, Vec::len),
            "annotations": annotations,
        });
        if let Some(platform) = &root.platform {
            descriptor["platform"] = json!({
                "os": platform.os,
                "architecture": platform.architecture,
            });
            if let Some(variant) = &platform.variant {
                descriptor["platform"]["variant"] = Value::from(variant.as_str());
            }
        }
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [descriptor],
        });
        index.to_string().into_bytes()
    }
}

/// `oci-layout`.
pub(super) const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Where a digest's bytes lie in a layout.
pub(super) fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}", digest.to_string().replace(':', "/"))
}

/// The manifest or index that a layout is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) digest: Digest,
    pub(super) media_type: String,
    pub(super) platform: Option<Platform>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> Digest {
        Digest::sha256([n; 32])
    }

    fn of(n: u8, os: &str, architecture: &str, variant: Option<&str>) -> Descriptor {
        Descriptor {
            digest: digest(n),
            size: 1,
            platform: Some(Platform {
                os: os.into(),
                architecture: architecture.into(),
                variant: variant.map(Into::into),
            }),
        }
    }

    #[track_caller]
    fn check_choice(asked: &str, expected: Option<u8>) {
        let manifests = [
            of(1, "unknown", "unknown", None),
            of(2, "linux", "arm", Some("v6")),
            of(3, "linux", "arm", Some("v7")),
            of(4, "linux", "arm64", Some("v8")),
            of(5, "linux", "amd64", Some("v3")),
            of(6, "linux", "amd64", None),
        ];
        let Ok(Platforms::One(asked)) = asked.parse() else {
            panic!("{asked} is a platform");
        };
        let chosen = choose(&manifests, &asked).map(|one| one.digest);
        assert_eq!(chosen, expected.map(digest), "{asked}");
    }

    #[test]
    fn a_platform_is_chosen_by_what_was_said_of_it() {
        check_choice("linux/amd64", Some(6));
        check_choice("linux/amd64/v3", Some(5));
        check_choice("linux/arm", Some(2));
        check_choice("linux/arm/v7", Some(3));
        check_choice("linux/arm64", Some(4));
        check_choice("windows/amd64", None);
        assert_eq!("all".parse(), Ok(Platforms::All));
        assert!("linux".parse::<Platforms>().is_err());
        assert!("a/b/c/d".parse::<Platforms>().is_err());
    }

    #[test]
    fn manifests_of_both_kinds_are_read_and_others_say_why_not() {
        let hex = "ab".repeat(32);
        let one = format!(r#"{{"mediaType":"m","digest":"sha256:{hex}","size":7}}"#);
        let image = format!(r#"{{"schemaVersion":2,"config":{one},"layers":[{one}]}}"#);
        let (document, kind) = read(image.as_bytes()).expect("an image");
        assert_eq!(kind, "application/vnd.oci.image.manifest.v1+json");
        let mut plan = Plan::default();
        let added = plan.add(digest(1), image.as_bytes(), &document);
        assert_eq!((added, plan.blobs.len(), plan.total()), (Ok(()), 1, 7));
        let index = format!(r#"{{"schemaVersion":2,"mediaType":"x","manifests":[{one}]}}"#);
        let (document, kind) = read(index.as_bytes()).expect("an index");
        assert!(matches!(document, Document::Index(of) if of.len() == 1) && kind == "x");
        for bad in [
            "",
            "[]",
            r#"{"schemaVersion":1}"#,
            r#"{"schemaVersion":2}"#,
            r#"{"schemaVersion":2,"config":{"digest":"sha256:../../etc","size":1}}"#,
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_no_image_is_is_refused_before_it_is_fetched() {
        let sized = |n: u8, size| Descriptor {
            size,
            ..of(n, "linux", "amd64", None)
        };
        let image = |sizes: [u64; 2]| Document::Image {
            config: sized(1, sizes[0]),
            layers: vec![sized(2, sizes[1])],
        };
        let mut plan = Plan::default();
        assert!(plan.add(digest(3), b"{}", &image([u64::MAX; 2])).is_err());
        let mut plan = Plan::default();
        assert!(plan.add(digest(3), b"{}", &image([1, u64::MAX])).is_err());
        let mut plan = Plan::default();
        let large = vec![b' '; 8 << 20];
        let added: Vec<bool> = (0..9)
            .map(|n| plan.add(digest(n), &large, &image([1, 1])).is_ok())
            .collect();
        assert_eq!(added, [[true; 8].as_slice(), &[false]].concat());
    }

    #[test]
    fn the_index_names_the_image_for_who_reads_the_layout() {
        let root = Root {
            digest: digest(1),
            media_type: "m".into(),
            platform: None,
        };
        let mut plan = Plan::default();
        plan.documents.insert(digest(1), vec![0; 9]);
        let index: Value =
            serde_json::from_slice(&plan.index(&root, ("r.test/a:v1", Some("v1")))).expect("json");
        let one = &index["manifests"][0];
        assert_eq!(one["size"], 9);
        assert_eq!(
            one["annotations"]["org.opencontainers.image.ref.name"],
            "v1"
        );
        assert_eq!(
            one["annotations"]["io.containerd.image.name"],
            "r.test/a:v1"
        );
        assert_eq!(
            blob_path(&root.digest),
            format!("blobs/sha256/{}", "01".repeat(32))
        );
    }
}
