//! How a command fails: what was being done, why, what to do next, and an exit code for scripts.

use std::{io, process::ExitCode};

use gateway::local::{
    FailureCode,
    client::{ClientError, TargetError},
};

use crate::config::{ConfigError, Fault};

/// The exit codes. docs/errors.md and docs/cli.md list them; tests keep all three equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Something failed.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The configuration makes no sense.
    Configuration = 3,
    /// The origin has no such content.
    NotFound = 4,
    /// The origin, the daemon or a policy says no.
    Denied = 5,
    /// No daemon answers.
    NoDaemon = 6,
    /// The bytes are not what their digest says.
    Mismatch = 7,
    /// Ctrl-C.
    Interrupted = 130,
    /// Whoever read standard output went away: what a shell shows of a program that SIGPIPE ended.
    PipeClosed = 141,
    /// SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// Every one, and what it means.
    pub(crate) const ALL: [(Self, &'static str); 10] = [
        (Self::Failed, "failed"),
        (Self::Usage, "usage"),
        (Self::Configuration, "configuration"),
        (Self::NotFound, "not found at the origin"),
        (Self::Denied, "denied"),
        (Self::NoDaemon, "daemon not reachable"),
        (Self::Mismatch, "digest mismatch"),
        (Self::Interrupted, "interrupted"),
        (Self::PipeClosed, "output closed"),
        (Self::Terminated, "terminated"),
    ];
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Problem {
    exit: Exit,
    /// The outermost first.
    causes: Vec<String>,
    next_step: Option<String>,
    /// What is wrong with a configuration.
    faults: Vec<Fault>,
}

impl Problem {
    /// A problem that is one message.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            causes: vec![message.into()],
            next_step: None,
            faults: Vec::new(),
        }
    }

    /// What was being done, and the chain of `error`.
    pub(crate) fn of(exit: Exit, doing: &str, error: impl Into<anyhow::Error>) -> Self {
        let error = error.into();
        let mut causes = vec![doing.to_owned()];
        for cause in error.chain().map(ToString::to_string) {
            // Some errors say their cause in their own words already.
            if !causes.iter().any(|before| before.contains(&cause)) {
                causes.push(cause);
            }
        }
        Self {
            exit,
            causes,
            next_step: None,
            faults: Vec::new(),
        }
    }

    /// What is wrong with a configuration, one by one.
    pub(crate) fn faults(&self) -> &[Fault] {
        &self.faults
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// With the causes of another try, which failed too.
    #[must_use]
    pub(crate) fn and(mut self, other: &Self) -> Self {
        for cause in other.causes.iter().skip(1) {
            if !self.causes.contains(cause) {
                self.causes.push(cause.clone());
            }
        }
        self
    }

    /// With what to do about it.
    #[must_use]
    pub(crate) fn next(mut self, step: impl Into<String>) -> Self {
        self.next_step = Some(step.into());
        self
    }

    /// A call to the daemon that failed while `doing`.
    pub(crate) fn of_daemon(doing: &str, error: ClientError) -> Self {
        let next = match &error {
            ClientError::Connect { cause, .. }
                if cause.kind() == io::ErrorKind::PermissionDenied =>
            {
                "join the socket's group, or run it as root"
            }
            ClientError::Connect { .. } => {
                "start the daemon (`pantala daemon`), or name its socket with --socket; `pantala doctor` looks closer"
            }
            ClientError::Target(TargetError::Exists { .. }) => {
                "choose another name, or pass --overwrite"
            }
            ClientError::Target(_) => "check the folder, its permissions and the space left",
            ClientError::Ended | ClientError::Protocol(_) => "look at the daemon's log",
            ClientError::Copy(_) => "check the space left; for a pipe, its reader",
            ClientError::Failed(failure) => {
                let exit = exit_of(failure.code);
                let next = failure.next_step.clone();
                let causes = std::iter::once(doing.to_owned());
                let causes = causes.chain(failure.causes.clone()).collect();
                return Self {
                    exit,
                    causes,
                    next_step: Some(next),
                    faults: Vec::new(),
                };
            }
        };
        let exit = match &error {
            ClientError::Connect { .. } | ClientError::Ended => Exit::NoDaemon,
            ClientError::Copy(cause) if cause.kind() == io::ErrorKind::BrokenPipe => {
                Exit::PipeClosed
            }
            _ => Exit::Failed,
        };
        Self::of(exit, doing, error).next(next)
    }

    /// Prints it to standard error.
    pub(crate) fn report(&self) -> ExitCode {
        // `get -o - | head` has what it wanted: nothing to tell.
        if self.exit == Exit::PipeClosed {
            return ExitCode::from(self.exit as u8);
        }
        let mut causes = self.causes.iter();
        eprintln!("error: {}", causes.next().map_or("failed", String::as_str));
        causes.for_each(|cause| eprintln!("  because: {cause}"));
        if let Some(step) = &self.next_step {
            eprintln!("  next: {step}");
        }
        ExitCode::from(self.exit as u8)
    }
}

impl From<ConfigError> for Problem {
    fn from(error: ConfigError) -> Self {
        let next = match &error {
            ConfigError::Read(_) => {
                "name an existing file with --config, or leave it out for the defaults"
            }
            ConfigError::Check(_) => "correct these; `pantala config explain KEY` explains a key",
        };
        let faults = match &error {
            ConfigError::Read(_) => Vec::new(),
            ConfigError::Check(faults) => faults.0.clone(),
        };
        let chain = anyhow::Error::from(error);
        let causes = chain.chain().map(ToString::to_string).collect();
        Self {
            exit: Exit::Configuration,
            causes,
            next_step: Some(next.to_owned()),
            faults,
        }
    }
}

fn exit_of(code: FailureCode) -> Exit {
    match code {
        FailureCode::BadRequest => Exit::Usage,
        FailureCode::NotFound => Exit::NotFound,
        FailureCode::Denied | FailureCode::Forbidden | FailureCode::Policy => Exit::Denied,
        FailureCode::Corrupt => Exit::Mismatch,
        FailureCode::Stopping => Exit::NoDaemon,
        FailureCode::Version
        | FailureCode::OriginBusy
        | FailureCode::Unavailable
        | FailureCode::NoRoom
        | FailureCode::Internal => Exit::Failed,
    }
}

/// A command line that is none, or a call for help.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell if standard error is gone.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(Exit::Usage as u8)
    } else {
        ExitCode::SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_errors_lists_every_exit_code() {
        let page = include_str!("../../../docs/errors.md");
        for (exit, meaning) in Exit::ALL {
            let row = format!("| {} | {meaning} |", exit as u8);
            assert!(page.contains(&row), "{row}");
        }
    }
}
