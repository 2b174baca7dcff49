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
    /// Write the planned files, once the daemon's mirror has answered.
    #[command(
        after_help = "Before anything is written, the daemon that runs must have its mirror there, with nobody else's socket on that port, and the mirror is asked: for the image of --probe or of runtime.probe, whole but for its larger layers; else one of the registries that are named must answer through it. Doing it twice changes nothing.\n\nExamples:\n  sudo pantala runtime apply\n  sudo pantala runtime apply --probe docker.io/library/alpine:latest\n  pantala runtime apply --root /mnt/image --unchecked"
    )]
    Apply {
        #[command(flatten)]
        args: RuntimeArgs,
        /// Pull this image through the mirror first: HOST/NAME:TAG [default: runtime.probe].
        #[arg(long, value_name = "IMAGE")]
        probe: Option<ImageName>,
        /// Write even though nobody asked whether that is the mirror and works.
        #[arg(long, conflicts_with = "probe")]
        unchecked: bool,
        /// Replace files of ours that were edited since or that our record does not know.
        #[arg(long)]
        force: bool,
    },
    /// Remove everything that was written.
    #[command(
        after_help = "A file of ours that was edited stays, and so does what has our mark without being in our record; everything else goes.\n\nExamples:\n  sudo pantala runtime undo\n  sudo pantala runtime undo --force\n  sudo pantala runtime undo --forget /etc/containerd/certs.d/_default/hosts.toml"
    )]
    Undo {
        /// The folder that the host's files are below [default: runtime.root].
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
        /// Only if they point at that mirror.
        #[arg(long, value_name = "ADDRESS")]
        mirror: Option<SocketAddr>,
        /// Leave this file as it is, yours from now on; may be repeated.
        #[arg(long, value_name = "PATH")]
        forget: Vec<String>,
        /// Remove files of ours that were edited since or that our record does not know, too.
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
