//! Somebody else's proxy on the way to origins.

use super::{Finding, Health};
use crate::{config::Config, dial::try_reach};

pub(super) async fn proxy(config: &Config) -> Option<Finding> {
    const CHECK: &str = "upstream proxy";
    let at = &config.origin.proxy.as_ref()?.at;
    Some(match try_reach(at.host(), at.port()).await {
        Ok(_) => Finding::new(CHECK, Health::Good, format!("{at} can be reached")),
        Err(error) => Finding::new(CHECK, Health::Bad, format!("{at}: {error}"))
            .next("check origin.proxy and firewalls; what is reached without it belongs in origin.proxy_bypass"),
    })
}
