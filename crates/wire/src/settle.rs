//! Which of two simultaneous dials stays.
//!
//! Two hosts that dial each other at once end up with two connections on one lane. Both sides apply the same rule
//! without a word: the connection that the smaller [`HostId`] dialled stays, the other is ended with
//! `Goodbye(Duplicate)`.

use types::HostId;

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// We dialled.
    Outgoing,
    /// They dialled.
    Incoming,
}

/// Whether a connection of this direction stays when there is one of the other direction on the same lane.
pub fn keep(ours: Direction, my: HostId, their: HostId) -> bool {
    match ours {
        Direction::Outgoing => my < their,
        Direction::Incoming => their <= my,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_keep_the_same_one_connection() {
        let (a, b) = (HostId::from_bytes([1; 32]), HostId::from_bytes([2; 32]));
        for (my, their) in [(a, b), (b, a)] {
            // One connection is outgoing here and incoming there.
            let dialled_here = (
                keep(Direction::Outgoing, my, their),
                keep(Direction::Incoming, their, my),
            );
            let dialled_there = (
                keep(Direction::Incoming, my, their),
                keep(Direction::Outgoing, their, my),
            );
            assert_eq!(dialled_here.0, dialled_here.1);
            assert_eq!(dialled_there.0, dialled_there.1);
            assert_ne!(dialled_here.0, dialled_there.0);
        }
    }
}
