//! `pantala get IMAGE`: a whole image, as an OCI image layout in a folder or as an archive of one.
//!
//! Manifests are read through the daemon, every blob comes as a task of its own, several at once. What was interrupted
//! goes on where it was: the blobs are in the daemon's store.

use std::{
    path::Path,
    sync::Mutex,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use gateway::{
    ImageName, ManifestName, SourceBytes,
    local::{
        GetRequest, HeaderLine, ManifestRequest,
        client::{Assembly, Client, Held, Output, Progress},
    },
};
use indicatif::ProgressBar;
use serde::Serialize;
use types::Digest;

use super::{
    Place, layout,
    plan::{self, Descriptor, Document, LAYOUT, Plan, Platform, Platforms, Root, blob_path},
    tar,
};
use crate::{
    commands::local::size,
    problem::{Exit, Problem},
};

/// Blobs that are brought at once: what container runtimes do by default is three to five.
const BLOBS_MAX: usize = 4;

/// Bytes of a configuration that is looked into: usual ones have some KiB.
const CONFIG_MAX: u64 = 8 << 20;

/// What is asked, beside the image.
pub(super) struct Ask<'a> {
    pub(super) client: &'a Client,
    pub(super) image: &'a ImageName,
    pub(super) platforms: Option<Platforms>,
    /// What the image's manifest or index must hash to.
    pub(super) digest: Option<Digest>,
    pub(super) headers: Vec<HeaderLine>,
    pub(super) background: bool,
    pub(super) overwrite: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
pub(super) struct Report {
    image: String,
    /// Of the manifest, or of the index if all platforms were taken.
    digest: String,
    media_type: String,
    platform: Option<String>,
    /// Whether it is this host's, since nobody asked for one.
    #[serde(skip)]
    is_by_default: bool,
    pub(super) blobs: usize,
    pub(super) length: u64,
    pub(super) sources: SourceBytes,
    pub(super) seconds: f64,
}

/// Brings the image to `place`.
pub(super) async fn get(
    ask: &Ask<'_>,
    place: Place<'_>,
    bar: &ProgressBar,
) -> Result<Report, Problem> {
    let began = Instant::now();
    if let Place::Folder(path) = &place {
        layout::check(path, ask.overwrite)?;
    }
    let (root, plan) = ask.plan().await?;
    super::bar::length(bar, plan.total());
    let tally = Tally::new(&plan, bar);
    let full = ask.image.to_string();
    let tag = ask.image.tag.as_ref().map(|tag| tag.as_str());
    let index = plan.index(&root, (&full, tag));
    match place {
        Place::Folder(path) => ask.to_folder(path, (&plan, index), &tally).await?,
        Place::Archive(output) => ask.to_archive(output, (&plan, index), &tally).await?,
    }
    let is_by_default = root.platform.is_some() && ask.platforms.is_none();
    Ok(Report {
        image: full,
        is_by_default,
        digest: root.digest.to_string(),
        media_type: root.media_type,
        platform: root.platform.map(|platform| platform.to_string()),
        blobs: plan.blobs.len(),
        length: plan.total(),
        sources: tally.sources(),
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// The contents of `image`, by its manifests as the daemon has them or gets them, for those platforms.
pub(in crate::commands) async fn contents(
    client: &Client,
    image: &ImageName,
    platforms: Option<Platforms>,
) -> Result<Vec<Digest>, Problem> {
    let ask = Ask {
        client,
        image,
        platforms,
        digest: None,
        headers: Vec::new(),
        background: false,
        overwrite: false,
    };
    let (_, plan) = ask.plan().await?;
    Ok(plan.blobs.into_keys().collect())
}

impl Ask<'_> {
    /// What the image consists of, by its manifests.
    async fn plan(&self) -> Result<(Root, Plan), Problem> {
        let mut plan = Plan::default();
        let (mut root, top) = self.manifest(self.image, &mut plan).await?;
        if let Some(asked) = self.digest.filter(|asked| *asked != root.digest) {
            let message = format!("the image is {}, not {asked}", root.digest);
            return Err(Problem::new(Exit::Mismatch, message)
                .next("check the digest; a tag may have moved: name the image by its digest"));
        }
        let manifests = match top {
            Document::Index(manifests) => manifests,
            Document::Image { config, .. } => {
                self.check_platform(&config).await?;
                return Ok((root, plan));
            }
        };
        let chosen = match self.platforms.clone().unwrap_or_else(Platforms::here) {
            Platforms::All => manifests,
            Platforms::One(asked) => {
                let chosen = plan::choose(&manifests, &asked);
                let chosen = chosen.ok_or_else(|| not_for(&asked, &manifests))?;
                // The index names what is not taken: the layout is of the one image.
                plan.documents.clear();
                vec![chosen]
            }
        };
        let is_one = plan.documents.is_empty();
        for one in &chosen {
            let image = self.image.at(one.digest);
            let (found, document) = self.manifest(&image, &mut plan).await?;
            if let Document::Index(_) = document {
                let message = format!("{} is an index within an index", one.digest);
                return Err(Problem::new(Exit::Failed, message).next("name the inner one"));
            }
            if is_one {
                let platform = one.platform.clone();
                root = Root { platform, ..found };
            }
        }
        Ok((root, plan))
    }

    async fn manifest(
        &self,
        image: &ImageName,
        plan: &mut Plan,
    ) -> Result<(Root, Document), Problem> {
        let request = ManifestRequest {
            image: image.to_string(),
            headers: self.headers.clone(),
        };
        let manifest = self.client.manifest(request).await;
        let manifest = manifest
            .map_err(|error| Problem::of_daemon("getting the image's manifest failed", error))?;
        if let ManifestName::Digest(asked) = image.name
            && asked != manifest.digest
        {
            let message = format!("the registry gave {} for {asked}", manifest.digest);
            return Err(Problem::new(Exit::Mismatch, message)
                .next("the registry is wrong: tell who runs it, or ask another one"));
        }
        let (document, kind) = plan::read(&manifest.bytes).map_err(|cause| {
            let cause = anyhow::Error::msg(cause);
            Problem::of(
                Exit::Failed,
                "the image's manifest is not understood",
                cause,
            )
            .next("if it is a file and no image, give its URL")
        })?;
        let added = plan.add(manifest.digest, &manifest.bytes, &document);
        added.map_err(|cause| {
            Problem::new(Exit::Failed, format!("the image is refused: {cause}"))
                .next("look at it with its publisher: no image tool makes such a one")
        })?;
        let root = Root {
            digest: manifest.digest,
            media_type: match manifest.media_type.split(';').next() {
                None | Some("") => kind,
                Some(told) => told.trim().to_owned(),
            },
            platform: None,
        };
        Ok((root, document))
    }

    /// Where an image is for one platform and one was asked for: whether it is that one.
    async fn check_platform(&self, config: &Descriptor) -> Result<(), Problem> {
        let Some(Platforms::One(asked)) = &self.platforms else {
            return Ok(());
        };
        if config.size > CONFIG_MAX {
            let message = format!("the image's configuration has {} bytes", config.size);
            return Err(Problem::new(Exit::Failed, message).next("leave out --platform"));
        }
        let held = self.hold((config.digest, config.size), &mut |_| {}).await?;
        let mut bytes = Vec::new();
        let output = Output::Stream(&mut bytes);
        let failed = |error| Problem::of_daemon("reading the image's configuration failed", error);
        let mut assembly = Assembly::begin(output).await.map_err(failed)?;
        assembly.append(&held).await.map_err(failed)?;
        assembly.publish().await.map_err(failed)?;
        let told: Option<Platform> = serde_json::from_slice(&bytes).ok();
        match told {
            Some(told) if !told.is(asked) => {
                let message = format!("the image is for {told}, not for {asked}");
                Err(Problem::new(Exit::NotFound, message)
                    .next("leave out --platform, or choose another image"))
            }
            _ => Ok(()),
        }
    }

    fn request(&self, digest: Digest) -> GetRequest {
        GetRequest {
            headers: self.headers.clone(),
            background: self.background,
            ..GetRequest::of(&self.image.blob(digest))
        }
    }

    async fn hold(
        &self,
        (digest, size): (Digest, u64),
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Held, Problem> {
        let held = self.client.hold(self.request(digest), progress).await;
        let held = held.map_err(|error| of_blob(digest, error))?;
        check_length(digest, (size, held.length()))?;
        Ok(held)
    }

    async fn to_folder(
        &self,
        path: &Path,
        (plan, index): (&Plan, Vec<u8>),
        tally: &Tally<'_>,
    ) -> Result<(), Problem> {
        let folder = layout::Folder::begin(path, self.overwrite)?;
        let blobs = plan.blobs.iter().enumerate();
        stream::iter(blobs.map(|(no, (digest, size))| {
            let target = folder.place_of(digest);
            async move {
                let target = target?;
                let output = Output::File {
                    path: &target,
                    overwrite: false,
                };
                let request = self.request(*digest);
                let mut progress = |now| tally.tell(no, now);
                let got = self.client.get(request, output, &mut progress).await;
                let got = got.map_err(|error| of_blob(*digest, error))?;
                tally.finish(no, (got.length, got.sources));
                check_length(*digest, (*size, got.length))
            }
        }))
        .buffer_unordered(BLOBS_MAX)
        .try_collect::<()>()
        .await?;
        for (digest, bytes) in &plan.documents {
            folder.write(&blob_path(digest), bytes)?;
        }
        folder.write("index.json", &index)?;
        folder.write("oci-layout", LAYOUT)?;
        folder.publish()
    }

    async fn to_archive(
        &self,
        output: Output<'_>,
        (plan, index): (&Plan, Vec<u8>),
        tally: &Tally<'_>,
    ) -> Result<(), Problem> {
        let failed = |error| Problem::of_daemon("writing the archive failed", error);
        let mut archive = Assembly::begin(output).await.map_err(failed)?;
        let mut start = [tar::folder("blobs/"), tar::folder("blobs/sha256/")].concat();
        let documents = plan.documents.iter();
        let documents = documents.map(|(digest, bytes)| (blob_path(digest), bytes.as_slice()));
        let named = [
            ("oci-layout".to_owned(), LAYOUT),
            ("index.json".to_owned(), &index),
        ];
        for (path, bytes) in named.into_iter().chain(documents) {
            let length = bytes.len() as u64;
            start.extend(tar::file(&path, length));
            start.extend_from_slice(bytes);
            start.extend(tar::padding(length));
        }
        archive.write(start).await.map_err(failed)?;
        let blobs = plan.blobs.iter().enumerate();
        let mut held = stream::iter(blobs.map(|(no, (digest, size))| async move {
            let mut progress = |now| tally.tell(no, now);
            let held = self.hold((*digest, *size), &mut progress).await?;
            tally.finish(no, (held.length(), held.sources));
            Ok::<_, Problem>((digest, held))
        }))
        .buffered(BLOBS_MAX);
        while let Some((digest, held)) = held.try_next().await? {
            let header = tar::file(&blob_path(digest), held.length());
            archive.write(header).await.map_err(failed)?;
            archive.append(&held).await.map_err(failed)?;
            let padding = tar::padding(held.length());
            archive.write(padding).await.map_err(failed)?;
        }
        archive.write(tar::end()).await.map_err(failed)?;
        archive.publish().await.map_err(failed)
    }
}

fn of_blob(digest: Digest, error: gateway::local::client::ClientError) -> Problem {
    Problem::of_daemon(&format!("getting {digest} of the image failed"), error)
}

fn check_length(digest: Digest, (said, found): (u64, u64)) -> Result<(), Problem> {
    if said == found {
        return Ok(());
    }
    let message = format!("{digest} has {found} bytes, and {said} by the image's manifest");
    Err(Problem::new(Exit::Mismatch, message).next("the image is broken: build it again"))
}

fn not_for(asked: &Platform, manifests: &[Descriptor]) -> Problem {
    let there: Vec<String> = manifests
        .iter()
        .filter_map(|one| one.platform.as_ref())
        .filter(|platform| platform.os != "unknown")
        .map(ToString::to_string)
        .collect();
    Problem::new(Exit::NotFound, format!("the image is not for {asked}")).next(format!(
        "choose one with --platform: {}, or all",
        there.join(", ")
    ))
}

/// How far the blobs of one image are, together.
struct Tally<'a> {
    parts: Mutex<Vec<Option<Progress>>>,
    bar: &'a ProgressBar,
}

impl<'a> Tally<'a> {
    fn new(plan: &Plan, bar: &'a ProgressBar) -> Self {
        Self {
            parts: Mutex::new(vec![None; plan.blobs.len()]),
            bar,
        }
    }

    fn tell(&self, no: usize, now: Progress) {
        if let Ok(mut parts) = self.parts.lock() {
            parts[no] = Some(now);
            let copied = parts.iter().flatten().map(|part| part.copied).sum();
            self.bar.set_position(copied);
        }
        self.bar.set_message(super::sources(self.sources()));
    }

    fn finish(&self, no: usize, (length, sources): (u64, SourceBytes)) {
        let (copied, total) = (length, length);
        self.tell(
            no,
            Progress {
                copied,
                total,
                sources,
            },
        );
    }

    fn sources(&self) -> SourceBytes {
        let mut sum = SourceBytes::default();
        if let Ok(parts) = self.parts.lock() {
            for part in parts.iter().flatten() {
                sum.local += part.sources.local;
                sum.peer += part.sources.peer;
                sum.origin += part.sources.origin;
            }
        }
        sum
    }
}

/// Tells it to people.
pub(super) fn words(report: &Report) -> String {
    let took = Duration::from_secs_f64(report.seconds);
    let by_default = match report.is_by_default {
        true => " (this host's platform; --platform takes another)",
        false => "",
    };
    let platform = report.platform.as_deref();
    let platform = platform.map_or_else(String::new, |one| format!(" for {one}{by_default}"));
    format!(
        "{} in {} blobs{platform} in {:.1} s: {}\n{}\n",
        size(report.length),
        report.blobs,
        took.as_secs_f64(),
        super::sources(report.sources),
        report.digest,
    )
}
