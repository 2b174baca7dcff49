//! A bounded list of runs of pieces, as wants and haves carry it.

use types::PieceRun;

/// 1 to [`Runs::COUNT_MAX`] runs of at least one piece each. The order is the sender's: in a `Want` it is the wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runs(Vec<PieceRun>);

/// Why runs do not travel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunsError {
    /// No runs, or too many for one message.
    #[error("a message lists 1 to 1024 runs, not {0}")]
    Count(usize),
    /// A run of no pieces, or past the largest index.
    #[error("{0} is no run that can travel")]
    Run(PieceRun),
}

impl Runs {
    /// The most runs in one message: 8 KiB.
    pub const COUNT_MAX: usize = 1024;

    /// The list, if every run has a piece and there are not too many.
    pub fn new(runs: Vec<PieceRun>) -> Result<Self, RunsError> {
        if !(1..=Self::COUNT_MAX).contains(&runs.len()) {
            return Err(RunsError::Count(runs.len()));
        }
        match runs
            .iter()
            .find(|run| run.count == 0 || run.end() > u64::from(u32::MAX))
        {
            Some(run) => Err(RunsError::Run(*run)),
            None => Ok(Self(runs)),
        }
    }

    /// A list of one run of at least one piece.
    pub fn one(run: PieceRun) -> Result<Self, RunsError> {
        Self::new(vec![run])
    }

    /// As many lists as `runs` need. Runs that cannot travel are left out: they name no piece.
    pub fn split(runs: impl IntoIterator<Item = PieceRun>) -> Vec<Self> {
        let fit: Vec<PieceRun> = runs
            .into_iter()
            .filter(|run| run.count > 0 && run.end() <= u64::from(u32::MAX))
            .collect();
        fit.chunks(Self::COUNT_MAX)
            .map(|chunk| Self(chunk.to_vec()))
            .collect()
    }

    /// The runs in the sender's order.
    pub fn as_slice(&self) -> &[PieceRun] {
        &self.0
    }

    /// The pieces that all runs name together; one named twice counts twice.
    pub fn piece_count(&self) -> u64 {
        self.0.iter().map(|run| u64::from(run.count)).sum()
    }

    /// One past the last piece that any run names.
    pub fn end(&self) -> u64 {
        self.0.iter().map(PieceRun::end).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use types::PieceIndex;

    use super::*;

    #[test]
    fn lists_are_bounded_and_hold_no_empty_run() {
        let run = |first, count| PieceRun {
            first: PieceIndex(first),
            count,
        };
        assert_eq!(Runs::new(vec![]), Err(RunsError::Count(0)));
        assert_eq!(
            Runs::new(vec![run(0, 1); 1025]),
            Err(RunsError::Count(1025))
        );
        for bad in [run(3, 0), run(u32::MAX, 1), run(1, u32::MAX)] {
            assert_eq!(Runs::one(bad), Err(RunsError::Run(bad)));
        }
        let lists = Runs::split((0..1500).map(|at| run(at * 2, 1)));
        assert_eq!(
            lists
                .iter()
                .map(|list| list.as_slice().len())
                .collect::<Vec<_>>(),
            [1024, 476]
        );
    }
}
