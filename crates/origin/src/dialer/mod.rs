//! The single guarded dialer: nothing else in Pantala opens a connection to the outside.
//!
//! [`DialPolicy`] is asked twice: for the URL, before any name is looked up, and for the very address that is about to
//! be dialled, after the lookup. There is no moment between that check and the connection, so a name that changes its
//! address in between gains nothing. Redirects and token realms come through here like everything else. Where an operator
//! names a proxy ([`via`]), the very address is the proxy's, and only listed origins are asked for behind it.

mod address;
mod connect;
mod link;
mod names;
mod network;
mod policy;
mod tls;
mod via;

pub(crate) use connect::{DialError, Dialer, Reach};
pub use names::{LookupError, NameTable, Names};
pub use network::{Network, ParseNetworkError};
pub use policy::{DialPolicy, Refused};
pub use tls::{HostCa, ParseHostCaError, RootsError};
pub use via::{Bypass, ParseProxyError, ProxyCredentialsError, ProxyProblem, UpstreamProxy};

#[cfg(test)]
mod tests;
pub(crate) use {tls::Trust, via::Via};
