//! The flags of commands that look at how things are.

use std::path::PathBuf;

use clap::Args;

use super::ListArgs;

/// Flags of `explain`.
#[derive(Debug, Args)]
#[command(
    after_help = "What runs is told of, and the last 256 contents that this daemon let go of since it was started. Time counts to \
where the piece came from that ended it; what passed while nothing was under way is told of as waiting. Of an image, all its \
contents for this host are told of.\n\n\
Examples:\n  pantala explain docker.io/library/alpine:3.20\n  \
pantala explain https://example.com/model.safetensors\n  \
pantala explain 4f8a9c12de --json | jq .by"
)]
pub(crate) struct ExplainArgs {
    /// An image REGISTRY/REPOSITORY:TAG or @sha256:DIGEST, a blob REGISTRY/REPOSITORY@sha256:DIGEST, a URL, or a task's
    /// first digits.
    #[arg(value_name = "CONTENT")]
    pub(crate) content: String,
    /// Which platform of an image: OS/ARCHITECTURE[/VARIANT], or all [default: what containers here run].
    #[arg(long)]
    pub(crate) platform: Option<crate::commands::get::Platforms>,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}

/// Flags of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorFlags {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write a new .tar.gz for a bug report: findings, settings, machine, tasks, metrics and the last lines of log, with names,
    /// paths, URLs and secrets taken out. What is in it is told on standard error.
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: Option<PathBuf>,
}
