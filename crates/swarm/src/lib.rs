//! The brains of the swarm: what to do next, decided without a clock, a socket or a random number of their own.

#![cfg_attr(
    test,
    allow(clippy::cast_possible_truncation, reason = "tests use small numbers")
)]

pub mod retain;
pub mod schedule;
