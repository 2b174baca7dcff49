//! How a person names an image.

use std::{fmt, str::FromStr};

use types::{Digest, RegistryHost, RepoName, Tag};

use crate::upstream::ManifestName;

/// `REGISTRY/REPOSITORY[:TAG][@DIGEST]`, the registry always said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageName {
    /// The registry.
    pub registry: RegistryHost,
    /// The repository within it.
    pub repository: RepoName,
    /// The tag, if it was said, or `latest` if no digest was.
    pub tag: Option<Tag>,
    /// What the registry is asked for: the digest, if it was said.
    pub name: ManifestName,
}

/// Why a text names no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseImageError {
    /// A name without a registry could mean any.
    #[error("an image is named REGISTRY/REPOSITORY:TAG, such as docker.io/library/alpine:3.20")]
    Shape,
    /// The registry.
    #[error("the image's registry is malformed")]
    Registry,
    /// The repository.
    #[error("the image's repository is malformed")]
    Repository,
    /// The tag.
    #[error("the image's tag is malformed")]
    Tag,
    /// The digest.
    #[error("the image's digest is malformed")]
    Digest,
}

impl ImageName {
    /// The same repository's manifest `digest`.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            name: ManifestName::Digest(digest),
            ..self.clone()
        }
    }

    /// A blob of the same repository, as a `get` names it.
    pub fn blob(&self, digest: Digest) -> String {
        format!("{}/{}@{digest}", self.registry, self.repository)
    }
}

impl FromStr for ImageName {
    type Err = ParseImageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, digest) = match text.split_once('@') {
            None => (text, None),
            Some((name, digest)) => {
                let digest = digest.parse().map_err(|_| ParseImageError::Digest)?;
                (name, Some(digest))
            }
        };
        let (registry, path) = name.split_once('/').ok_or(ParseImageError::Shape)?;
        // What has neither a dot nor a port is a user of Docker's registry to Docker, and a typing error to others.
        if !registry.contains(['.', ':']) && registry != "localhost" {
            return Err(ParseImageError::Shape);
        }
        let (repository, tag) = match path.split_once(':') {
            None => (path, None),
            Some((repository, tag)) => {
                let tag = tag.parse::<Tag>().map_err(|_| ParseImageError::Tag)?;
                (repository, Some(tag))
            }
        };
        let is_official = registry == "docker.io" && !repository.contains('/');
        let official = format!("library/{repository}");
        let repository = if is_official { &official } else { repository };
        let (tag, name) = match (tag, digest) {
            (tag, Some(digest)) => (tag, ManifestName::Digest(digest)),
            (tag, None) => {
                let latest = || "latest".parse().map_err(|_| ParseImageError::Tag);
                let tag = tag.map_or_else(latest, Ok)?;
                (Some(tag.clone()), ManifestName::Tag(tag))
            }
        };
        Ok(Self {
            registry: registry.parse().map_err(|_| ParseImageError::Registry)?,
            repository: repository
                .parse()
                .map_err(|_| ParseImageError::Repository)?,
            tag,
            name,
        })
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(to, ":{tag}")?;
        }
        if let ManifestName::Digest(digest) = self.name {
            write!(to, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, printed: &str) {
        let name: ImageName = text.parse().expect(text);
        assert_eq!(name.to_string(), printed);
        assert_eq!(printed.parse(), Ok(name));
    }

    #[test]
    fn an_image_is_named_as_people_do() {
        let hex = "ab".repeat(32);
        check(
            "docker.io/library/alpine:3.20",
            "docker.io/library/alpine:3.20",
        );
        check("docker.io/alpine", "docker.io/library/alpine:latest");
        check("localhost:5000/a/b/c:v1", "localhost:5000/a/b/c:v1");
        check("localhost/a", "localhost/a:latest");
        check(
            &format!("quay.io/a/b@sha256:{hex}"),
            &format!("quay.io/a/b@sha256:{hex}"),
        );
        check(
            &format!("quay.io/a/b:v1@sha256:{hex}"),
            &format!("quay.io/a/b:v1@sha256:{hex}"),
        );
    }

    #[test]
    fn what_is_no_image_says_why() {
        for (bad, why) in [
            ("alpine", ParseImageError::Shape),
            ("library/alpine:3", ParseImageError::Shape),
            ("/etc/passwd", ParseImageError::Shape),
            ("quay.io/a/b@sha256:00", ParseImageError::Digest),
            ("quay.io/A/b", ParseImageError::Repository),
            ("quay.io/a:b:c", ParseImageError::Tag),
            ("quay.io/a:../b", ParseImageError::Tag),
        ] {
            assert_eq!(bad.parse::<ImageName>(), Err(why), "{bad}");
        }
    }
}
