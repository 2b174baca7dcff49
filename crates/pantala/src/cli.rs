//! The commands and their flags. Each help ends with examples; docs/cli.md is made from here.

mod exits;
mod look;
mod runtime;

use std::{num::NonZeroU32, path::PathBuf};

use crate::commands::sim::SimArgs;

pub(crate) use look::{DoctorFlags, ExplainArgs};
pub(crate) use runtime::{RuntimeArgs, RuntimeCommand};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

/// Peer-to-peer distribution of container images, files and AI models.
#[derive(Debug, Parser)]
#[command(
    name = "pantala",
    version,
    about,
    propagate_version = false,
    max_term_width = 100
)]
#[command(
    after_help = "Examples:\n  pantala up                                    everything on this machine, to begin with\n  \
pantala get https://example.com/f -o f        a file\n  \
pantala get docker.io/library/alpine -o a/    an image\n  \
pantala doctor                                what is wrong here, and what to do about it"
)]
pub(crate) struct Cli {
    /// The configuration file [default: /etc/pantala/pantala.toml, if there is one].
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "PANTALA_CONFIG",
        hide_env_values = true
    )]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// All commands, with what their help says.
pub(crate) fn commands() -> clap::Command {
    exits::told(Cli::command())
}

impl Cli {
    /// What this process was asked.
    pub(crate) fn of_process() -> Result<Self, clap::Error> {
        let mut commands = commands();
        let mut matches = commands.try_get_matches_from_mut(std::env::args_os())?;
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut commands))
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Fetch a file, a model or a whole image through the daemon of this host.
    Get(GetArgs),
    /// Show what the daemon is distributing right now.
    #[command(after_help = "Examples:\n  pantala task\n  pantala task --json | jq '.[].state'")]
    Task(ListArgs),
    /// Tell where a content's bytes came from, what its time went to, and why.
    Explain(ExplainArgs),
    /// Look at, or free, what the daemon keeps on disk.
    #[command(
        subcommand,
        after_help = "Examples:\n  pantala store ls\n  pantala store rm 4f8a9c12de\n  pantala store gc"
    )]
    Store(StoreCommand),
    /// Send consumers straight to the origin, or serve them again.
    #[command(
        subcommand,
        after_help = "The switch outlives restarts of the daemon.\n\nExamples:\n  pantala bypass on\n  pantala bypass status\n  pantala bypass off"
    )]
    Bypass(BypassCommand),
    /// Check this host: folders, ports, socket, certificate, space, scheduler, mirror.
    #[command(
        after_help = "A running daemon is asked what it was started with. Nothing is changed; it fails if anything is bad.\n\nExamples:\n  pantala doctor\n  pantala doctor --json\n  sudo -u pantala pantala doctor --config /etc/pantala/pantala.toml\n  sudo pantala doctor --bundle pantala-bundle.tar.gz"
    )]
    Doctor(RoleArgs<DoctorFlags>),
    /// Point the container engines of this host at the daemon's mirror, and take it back.
    #[command(
        subcommand,
        after_help = "Only files of its own are written, and no engine is restarted.\n\nExamples:\n  pantala runtime plan\n  sudo pantala runtime apply\n  sudo pantala runtime undo"
    )]
    Runtime(RuntimeCommand),
    /// Make, list and revoke the tokens with which hosts join the cluster (on the scheduler's host).
    #[command(
        subcommand,
        after_help = "Examples:\n  pantala token create --uses 100 --ttl 7d > join-token\n  pantala token list"
    )]
    Token(TokenCommand),
    /// List the cluster's hosts, and throw one out (on the scheduler's host).
    #[command(
        subcommand,
        after_help = "Examples:\n  pantala host list\n  pantala host revoke abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrst"
    )]
    Host(HostCommand),
    /// Check, print or explain the configuration.
    #[command(
        subcommand,
        after_help = "Examples:\n  pantala config default > /etc/pantala/pantala.toml\n  pantala config check\n  pantala config explain store.quota"
    )]
    Config(ConfigCommand),
    /// Help clients of this host's proxy.
    #[command(
        subcommand,
        after_help = "Examples:\n  pantala proxy ca > /usr/local/share/ca-certificates/pantala.crt"
    )]
    Proxy(ProxyCommand),
    /// Run the daemon of this host.
    #[command(
        after_help = "Examples:\n  pantala daemon\n  pantala daemon --scheduler scheduler.corp:7480 --join-token-file /etc/pantala/join-token\n  pantala daemon --seed --set store.quota=2TiB"
    )]
    Daemon(RoleArgs<DaemonFlags>),
    /// Run the scheduler of a cluster.
    #[command(
        after_help = "Examples:\n  pantala scheduler\n  pantala scheduler --set scheduler.cluster=prod --log-format json"
    )]
    Scheduler(RoleArgs<NoFlags>),
    /// Run everything in one process: scheduler and daemon.
    #[command(
        after_help = "Examples:\n  pantala up\n  pantala up --listen 127.0.0.1:7470 --set scheduler.listen=127.0.0.1:7480\n  pantala up --origin http://files.corp:8080 --data-dir /srv/pantala"
    )]
    Up(RoleArgs<HostFlags>),
    /// Simulate a distribution to thousands of hosts on this machine, in virtual time.
    #[command(
        after_help = "Examples:\n  pantala sim --hosts 1000 --content 10GiB\n  pantala sim --hosts 5000 --faults 'kill 10% at 50%' --svg curve.svg\n  pantala sim --zones 'a 50%' --zones b --pipes 'a and b at 10Gbit' --json"
    )]
    Sim(SimArgs),
    /// Print the completion script of a shell.
    #[command(
        after_help = "Examples:\n  pantala completions bash > /usr/share/bash-completion/completions/pantala\n  pantala completions zsh > /usr/share/zsh/site-functions/_pantala"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder.
    #[command(after_help = "Examples:\n  pantala man /usr/share/man/man1")]
    Man {
        /// An existing folder.
        folder: PathBuf,
    },
    /// Print a reference page as Markdown.
    #[command(hide = true)]
    Docs {
        /// Which one.
        page: Page,
    },
}

/// A reference page.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Page {
    /// docs/cli.md.
    Cli,
    /// docs/configuration.md.
    Config,
    /// docs/metrics.md.
    Metrics,
}

/// Which daemon is asked.
#[derive(Debug, Args)]
pub(crate) struct SocketArgs {
    /// The daemon's socket [default: local.socket of the configuration].
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

/// Flags of a list.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) socket: SocketArgs,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `get`.
#[derive(Debug, Args)]
#[command(
    after_help = "CONTENT is a URL (http, https), an image REGISTRY/REPOSITORY:TAG, or a blob or image \
REGISTRY/REPOSITORY@sha256:DIGEST.\n\
An image becomes an OCI image layout: an archive if PATH ends in .tar or is `-`, else a folder.\n\
What is broken off goes on where it was when the same command is given again.\n\n\
Examples:\n  pantala get https://example.com/model.safetensors -o model.safetensors\n  \
pantala get https://example.com/data.tar -o - | tar -x\n  \
pantala get https://example.com/f -o f --digest sha256:9f86... --header 'Cookie: ...'\n  \
pantala get docker.io/library/alpine@sha256:4abc... -o layer.tar.gz\n  \
pantala get https://example.com/big -o part --range 0-1048575\n  \
pantala get docker.io/library/alpine:3.20 -o alpine/ && skopeo inspect oci:alpine:3.20\n  \
pantala get docker.io/library/alpine:3.20 -o alpine.tar --platform linux/arm64\n  \
pantala get registry.corp/team/app:v1 -o - | podman load"
)]
pub(crate) struct GetArgs {
    /// A URL, REGISTRY/REPOSITORY:TAG, or REGISTRY/REPOSITORY@sha256:DIGEST.
    #[arg(value_name = "CONTENT")]
    pub(crate) content: String,
    /// The file, or an image's folder, to write, complete or not at all; `-` writes to standard output.
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: PathBuf,
    /// What the bytes, or an image's manifest, must hash to: sha256:HEX or blake3:HEX. Without it, hosts share a URL through
    /// seeds alone.
    #[arg(long)]
    pub(crate) digest: Option<types::Digest>,
    /// Which platform of an image: OS/ARCHITECTURE[/VARIANT], or all [default: what containers here run].
    #[arg(long)]
    pub(crate) platform: Option<crate::commands::get::Platforms>,
    /// Replace the file, or the image's folder, if it exists.
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// A header line for the origin, `Name: value`. Its value is treated as a secret. May be repeated.
    #[arg(long = "header", value_name = "LINE")]
    pub(crate) headers: Vec<String>,
    /// A name that keeps different contents of one URL apart [default: none].
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) tag: String,
    /// Only these bytes: FIRST-LAST, FIRST- or -COUNT.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) range: Option<String>,
    /// Give way to everything that is not in the background: it waits, and goes on by itself.
    #[arg(long)]
    pub(crate) background: bool,
    /// Print the result as JSON (to standard error if the content goes to standard output).
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) socket: SocketArgs,
}

/// What to do with the store.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// List what is held.
    #[command(
        after_help = "Examples:\n  pantala store ls\n  pantala store ls --json | jq 'map(.held) | add'"
    )]
    Ls(ListArgs),
    /// Remove contents, by task or its first digits.
    #[command(
        after_help = "Examples:\n  pantala store rm 4f8a9c12de\n  pantala store rm $(pantala store ls --json | jq -r '.[].task')"
    )]
    Rm {
        /// Tasks, as `store ls` shows them.
        #[arg(required = true)]
        tasks: Vec<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Remove what nobody needs, now.
    #[command(after_help = "Examples:\n  pantala store gc")]
    Gc(ListArgs),
}

/// What to do with the bypass.
#[derive(Debug, Subcommand)]
pub(crate) enum BypassCommand {
    /// Send consumers straight to the origin.
    #[command(after_help = "Examples:\n  pantala bypass on")]
    On(ListArgs),
    /// Serve them again.
    #[command(after_help = "Examples:\n  pantala bypass off")]
    Off(ListArgs),
    /// Say how it is.
    #[command(after_help = "Examples:\n  pantala bypass status --json")]
    Status(ListArgs),
}

/// What to do with join tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it, once.
    #[command(
        after_help = "Examples:\n  pantala token create > join-token\n  pantala token create --role seed --uses 3 --ttl 7d\n  pantala token create --json"
    )]
    Create {
        /// What the token makes of a host: daemon, seed or scheduler.
        #[arg(long, default_value = "daemon")]
        role: identity::Role,
        /// How many hosts it lets in.
        #[arg(long, value_name = "COUNT", default_value = "1")]
        uses: NonZeroU32,
        /// How long it is good: 30min, 24h, 7d.
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = crate::config::duration)]
        ttl: std::time::Duration,
        #[command(flatten)]
        authority: AuthorityArgs,
    },
    /// List the tokens. Their secrets are not kept.
    #[command(after_help = "Examples:\n  pantala token list\n  pantala token list --json")]
    List {
        #[command(flatten)]
        authority: AuthorityArgs,
    },
    /// End a token at once. Hosts that joined by it stay.
    #[command(after_help = "Examples:\n  pantala token revoke 0123456789abcdef")]
    Revoke {
        /// Its id, as `token list` shows it: the part before the first dot.
        id: identity::TokenId,
        #[command(flatten)]
        authority: AuthorityArgs,
    },
}

/// What to do with the cluster's hosts.
#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// List the hosts that are connected to the scheduler, and those that were revoked.
    #[command(
        after_help = "Examples:\n  pantala host list\n  pantala host list --json | jq -r '.[] | select(.standing == \"revoked\").host'"
    )]
    List {
        /// The scheduler to ask [default: the port of scheduler.listen on this machine].
        #[arg(long, value_name = "HOST:PORT")]
        scheduler: Option<crate::config::Endpoint>,
        #[command(flatten)]
        authority: AuthorityArgs,
    },
    /// Throw a host out for good: no other host deals with its key any more, and it gets no certificate again.
    #[command(
        after_help = "A running scheduler notices at once, whichever way it was configured.\n\n\
Examples:\n  pantala host revoke abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrst"
    )]
    Revoke {
        /// Its id, as `host list` and `pantala doctor` on that host show it.
        host: types::HostId,
        #[command(flatten)]
        authority: AuthorityArgs,
    },
}

/// Which authority.
#[derive(Debug, Args)]
pub(crate) struct AuthorityArgs {
    /// The authority's folder [default: scheduler.ca_dir of the configuration, or of the `pantala up` that runs here].
    #[arg(long, value_name = "DIR")]
    pub(crate) ca_dir: Option<PathBuf>,
    /// The cluster's name, to be sure of it [default: that of the authority; for a new one scheduler.cluster of the
    /// configuration].
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<types::ClusterId>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check a file, with the environment and flags, and report everything that is wrong.
    #[command(
        after_help = "Examples:\n  pantala config check\n  pantala config check ./pantala.toml\n  pantala config check --set peer.slots=4\n  pantala config check --json | jq -r '.[].key'"
    )]
    Check {
        /// The file, instead of --config.
        file: Option<PathBuf>,
        /// Print the faults as JSON: none is an empty list.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        common: CommonFlags,
    },
    /// Print a file with every key, commented.
    #[command(after_help = "Examples:\n  pantala config default > /etc/pantala/pantala.toml")]
    Default,
    /// Tell what the proxy does with a URL, and which rule says so.
    #[command(
        after_help = "Nothing is asked and nothing is dialled: the configuration alone is read.\n\nExamples:\n  pantala config match http://deb.debian.org/debian/pool/main/b/bash/bash_5.2_amd64.deb\n  pantala config match https://files.corp/model.bin --json | jq -r .action\n  pantala config match http://files.corp/x --set 'proxy.rules=[\"files.corp content\"]'"
    )]
    Match {
        /// A URL (http, https).
        url: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        common: CommonFlags,
    },
    /// Tell what a key means, its value, and where that came from.
    #[command(
        after_help = "Examples:\n  pantala config explain store.quota\n  PANTALA_PEER_SLOTS=4 pantala config explain peer.slots --json"
    )]
    Explain {
        /// The key: section.name.
        key: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        common: CommonFlags,
    },
}

/// What to do for the proxy's clients.
#[derive(Debug, Subcommand)]
pub(crate) enum ProxyCommand {
    /// Print the certificate of the authority in whose name the proxy speaks for the hosts of proxy.intercept.
    #[command(
        after_help = "The daemon makes it at its start, for the listed hosts alone; another list makes another one. How to trust it goes to\nstandard error.\n\nExamples:\n  pantala proxy ca > /usr/local/share/ca-certificates/pantala.crt && update-ca-certificates\n  curl --cacert <(pantala proxy ca) --proxy http://127.0.0.1:7473 https://files.corp/f\n  pantala proxy ca --json | jq -r .expires"
    )]
    Ca {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        common: CommonFlags,
    },
}

/// Flags of every command that reads the whole configuration.
#[derive(Debug, Default, Args)]
pub(crate) struct CommonFlags {
    /// Set any key of the configuration. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment)]
    pub(crate) set: Vec<(String, String)>,
    /// Short for --set log.level=... (error, warn, info, debug, trace, or a filter such as info,store=debug).
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Short for --set log.format=...
    #[arg(long, value_name = "text|json")]
    pub(crate) log_format: Option<String>,
}

/// The flags of a role, and those of all.
#[derive(Debug, Args)]
pub(crate) struct RoleArgs<F: Args> {
    #[command(flatten)]
    pub(crate) own: F,
    #[command(flatten)]
    pub(crate) common: CommonFlags,
}

/// No flags of its own.
#[derive(Debug, Args)]
pub(crate) struct NoFlags {}

/// Flags of a daemon.
#[derive(Debug, Args)]
pub(crate) struct DaemonFlags {
    /// Short for --set control.schedulers=... May be repeated.
    #[arg(long = "scheduler", value_name = "HOST:PORT")]
    pub(crate) schedulers: Vec<String>,
    /// Short for --set control.join_token_file=...
    #[arg(long, value_name = "FILE")]
    pub(crate) join_token_file: Option<String>,
    /// Short for --set host.seed=true.
    #[arg(long)]
    pub(crate) seed: bool,
    #[command(flatten)]
    pub(crate) host: HostFlags,
}

/// Flags of a daemon wherever it runs. `up` has these alone: it is its own scheduler, and a seed.
#[derive(Debug, Args)]
pub(crate) struct HostFlags {
    /// Short for --set origin.allow=...: lists an origin that is private or speaks plain text. May be repeated.
    #[arg(long = "origin", value_name = "ORIGIN")]
    pub(crate) origins: Vec<String>,
    /// Short for --set host.data_dir=...
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// Short for --set local.socket=...
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<String>,
    /// Short for --set peer.listen=...
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,
}

fn assignment(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text
        .split_once('=')
        .ok_or("write KEY=VALUE, such as peer.slots=4")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

impl CommonFlags {
    /// As sources of the configuration take them.
    pub(crate) fn settings(&self) -> Vec<(String, String, String)> {
        let mut all: Vec<_> = self
            .set
            .iter()
            .map(|(key, value)| (key.clone(), value.clone(), "--set".to_owned()))
            .collect();
        put(
            &mut all,
            ("log.level", "--log-level"),
            self.log_level.as_ref(),
        );
        put(
            &mut all,
            ("log.format", "--log-format"),
            self.log_format.as_ref(),
        );
        all
    }
}

impl DaemonFlags {
    /// As sources of the configuration take them.
    pub(crate) fn settings(&self) -> Vec<(String, String, String)> {
        let mut all = self.host.settings();
        put(
            &mut all,
            ("control.schedulers", "--scheduler"),
            &self.schedulers,
        );
        put(
            &mut all,
            ("control.join_token_file", "--join-token-file"),
            self.join_token_file.as_ref(),
        );
        put(
            &mut all,
            ("host.seed", "--seed"),
            self.seed.then_some(&"true".to_owned()),
        );
        all
    }
}

impl HostFlags {
    /// As sources of the configuration take them.
    pub(crate) fn settings(&self) -> Vec<(String, String, String)> {
        let mut all = Vec::new();
        put(&mut all, ("origin.allow", "--origin"), &self.origins);
        put(
            &mut all,
            ("host.data_dir", "--data-dir"),
            self.data_dir.as_ref(),
        );
        put(&mut all, ("local.socket", "--socket"), self.socket.as_ref());
        put(&mut all, ("peer.listen", "--listen"), self.listen.as_ref());
        all
    }
}

fn put<'a>(
    to: &mut Vec<(String, String, String)>,
    (key, flag): (&str, &str),
    values: impl IntoIterator<Item = &'a String>,
) {
    to.extend(
        values
            .into_iter()
            .map(|value| (key.to_owned(), value.clone(), flag.to_owned())),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_do_not_contradict_each_other() {
        commands().debug_assert();
    }
}
