//! The flags of `pantala runtime`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};
use gateway::ImageName;

/// What to do with the configuration of the container engines.
#[derive(Debug, Subcommand)]
pub(crate) enum RuntimeCommand {
    /// Show what would be written, what stands against it, and what is left to you.
    #[command(
        after_help = "Nothing is changed.\n\nExamples:\n  pantala runtime plan\n  pantala runtime plan --registry quay.io --json | jq -r '.engines[].files[].content'"
    )]
    Plan(RuntimeArgs),
    /// Write the planned files, once the mirror has answered.
    #[command(
        after_help = "Before anything is written, the mirror is asked: for the image of --probe or of runtime.probe, whole but for its larger layers; else one of the registries that are named must answer through it. Doing it twice changes nothing.\n\nExamples:\n  sudo pantala runtime apply\n  sudo pantala runtime apply --probe docker.io/library/alpine:latest\n  pantala runtime apply --root /mnt/image --unchecked"
    )]
    Apply {
        #[command(flatten)]
        args: RuntimeArgs,
        /// Pull this image through the mirror first: HOST/NAME:TAG [default: runtime.probe].
        #[arg(long, value_name = "IMAGE")]
        probe: Option<ImageName>,
        /// Write even though nobody asked the mirror whether it works.
        #[arg(long, conflicts_with = "probe")]
        unchecked: bool,
        /// Replace files of ours that were edited since.
        #[arg(long)]
        force: bool,
    },
    /// Remove everything that was written.
    #[command(
        after_help = "Examples:\n  sudo pantala runtime undo\n  sudo pantala runtime undo --force"
    )]
    Undo {
        /// The folder that the host's files are below [default: runtime.root].
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
        /// Remove files of ours that were edited since, too.
        #[arg(long)]
        force: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show each engine, and whether it is pointed at the mirror.
    #[command(after_help = "Examples:\n  pantala runtime status\n  pantala runtime status --json")]
    Status(RuntimeArgs),
}

/// What is wanted, and where.
#[derive(Debug, Args)]
pub(crate) struct RuntimeArgs {
    /// The folder that the host's files are below [default: runtime.root].
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// The mirror, on loopback [default: mirror.listen].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) mirror: Option<SocketAddr>,
    /// A registry, or `_default` for all; may be repeated [default: runtime.registries].
    #[arg(long, value_name = "HOST")]
    pub(crate) registry: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
