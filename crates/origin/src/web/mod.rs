//! Content behind a plain URL: look at it, read parts of it, or spool it to its end.

mod read;
mod request;
mod resolve;

pub(crate) use read::range_value;
pub use request::{Request, RequestError};
pub(crate) use resolve::Resolves;
pub use resolve::{ResolveError, Resolved};

#[cfg(test)]
mod tests;
