//! What each command does. Each is a function of its arguments; none keeps state.

mod authority;
mod config;
mod counted;
mod doctor;
mod explain;
pub(crate) mod get;
mod host;
mod local;
mod pages;
mod proxy;
mod running;
mod runtime;
mod serve;
pub(crate) mod sim;
mod token;

use std::path::PathBuf;

use crate::{
    cli::{Cli, Command, SocketArgs},
    config::{Config, ConfigError, Settings, Sources, Value},
    problem::{Exit, Problem},
    show,
};

/// Runs the command of `cli`.
pub(crate) fn run(cli: Cli) -> Result<(), Problem> {
    let file = cli.config;
    match cli.command {
        Command::Get(args) => get::run(file, args),
        Command::Task(args) => local::tasks(file, args),
        Command::Explain(args) => explain::run(file, args),
        Command::Store(command) => local::store(file, command),
        Command::Bypass(command) => local::bypass(file, command),
        Command::Doctor(args) => doctor::run(file, args),
        Command::Runtime(command) => runtime::run(file, command),
        Command::Token(command) => token::run(file, command),
        Command::Host(command) => host::run(file, command),
        Command::Config(command) => config::run(file, command),
        Command::Proxy(command) => proxy::run(file, command),
        Command::Daemon(args) => {
            let flags = [args.own.settings(), args.common.settings()].concat();
            serve::run(serve::Role::Daemon, &load(file, flags)?)
        }
        Command::Scheduler(args) => {
            serve::run(serve::Role::Scheduler, &load(file, args.common.settings())?)
        }
        Command::Up(args) => {
            let flags = [args.own.settings(), args.common.settings()].concat();
            serve::run(serve::Role::Up, &load(file, flags)?)
        }
        Command::Sim(args) => sim::run(&args),
        Command::Completions { shell } => pages::completions(shell),
        Command::Man { folder } => pages::man(&folder),
        Command::Docs { page } => show::print(&pages::markdown(page)),
    }
}

/// The configuration of `file`, the environment and `flags`; warnings go to standard error.
fn load(file: Option<PathBuf>, flags: Vec<(String, String, String)>) -> Result<Config, Problem> {
    let sources = Sources {
        flags,
        ..Sources::of_process(file)
    };
    let (config, warnings) = Config::load(&sources)?;
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    Ok(config)
}

/// The daemon's client. Only the socket's path is taken from the configuration: a client must work for users who may not
/// read all of it, and while somebody edits it.
fn client(
    file: Option<PathBuf>,
    args: &SocketArgs,
) -> Result<gateway::local::client::Client, Problem> {
    let socket = match &args.socket {
        Some(socket) => socket.clone(),
        None => {
            let is_named = file.is_some();
            match Settings::gather(&Sources::of_process(file)) {
                Ok(settings) => path_of(&settings)?,
                Err(error) if is_named => return Err(ConfigError::from(error).into()),
                Err(_) => path_of(&defaults()?)?,
            }
        }
    };
    Ok(gateway::local::client::Client::new(socket))
}

/// The settings of the environment alone.
fn defaults() -> Result<Settings, Problem> {
    let nowhere = Sources {
        file: Some("/dev/null".into()),
        ..Sources::of_process(None)
    };
    Settings::gather(&nowhere).map_err(|error| ConfigError::from(error).into())
}

fn path_of(settings: &Settings) -> Result<PathBuf, Problem> {
    match settings.get("local.socket") {
        Some((Value::One(path), _)) => Ok(path.into()),
        _ => Err(Problem::new(Exit::Configuration, "local.socket is not set")
            .next("name the daemon's socket with --socket")),
    }
}

/// Runs `work` on a small runtime: for commands that wait for one thing.
fn block_on<T>(work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime =
        runtime.map_err(|error| Problem::of(Exit::Failed, "starting the runtime", error))?;
    let result = runtime.block_on(work);
    // A blocking thread that still copies to a slow disk must not hold up an error.
    runtime.shutdown_background();
    result
}
