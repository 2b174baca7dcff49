//! What a process listens at, and who can reach that: told before anything is opened.

use std::net::{IpAddr, SocketAddr};

use crate::config::Config;

/// One way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Door {
    /// What it is.
    pub(crate) name: &'static str,
    /// Where.
    pub(crate) at: String,
    /// Who reaches it.
    pub(crate) from: String,
    /// Whether more reach it than need to.
    pub(crate) is_wide: bool,
}

/// The doors of a daemon.
pub(crate) fn of_daemon(config: &Config) -> Vec<Door> {
    let peers = mutual("peers", config.peer.listen);
    let mirror = config.mirror.listen.map(|at| plain("mirror", at));
    let proxy = config.proxy.listen.map(|at| plain("proxy", at));
    let status = config.status.map(|at| plain("status", at));
    let group = config.local.group;
    let socket = Door {
        name: "socket",
        at: config.local.socket.display().to_string(),
        from: match group {
            Some(group) => format!("this machine: the daemon's user and group {group}"),
            None => "this machine: the daemon's user and group".to_owned(),
        },
        is_wide: false,
    };
    let plain = [mirror, proxy, status].into_iter().flatten();
    [peers].into_iter().chain(plain).chain([socket]).collect()
}

/// The doors of a scheduler, which has a status page of its own unless a daemon in the same process has one.
pub(crate) fn of_scheduler(config: &Config, has_status: bool) -> Vec<Door> {
    let hosts = mutual("scheduler", config.scheduler.listen);
    let status = config.scheduler.status.filter(|_| has_status);
    let status = status.map(|at| plain("scheduler status", at));
    [hosts].into_iter().chain(status).collect()
}

/// A door that only hosts of the cluster get through.
fn mutual(name: &'static str, at: SocketAddr) -> Door {
    let from = format!("{}; only hosts of the cluster are let in", scope(at.ip()));
    Door {
        name,
        at: at.to_string(),
        from,
        is_wide: false,
    }
}

/// A door without a lock.
fn plain(name: &'static str, at: SocketAddr) -> Door {
    let is_wide = !at.ip().is_loopback();
    let lock = if is_wide {
        "; plain HTTP for whoever comes"
    } else {
        ""
    };
    Door {
        name,
        at: at.to_string(),
        from: scope(at.ip()) + lock,
        is_wide,
    }
}

fn scope(ip: IpAddr) -> String {
    if ip.is_loopback() {
        "this machine alone".to_owned()
    } else if ip.is_unspecified() {
        "every network of this machine".to_owned()
    } else {
        format!("the networks that reach {ip}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(doors: &[Door], name: &str) -> String {
        let door = doors.iter().find(|door| door.name == name);
        door.map(|door| format!("{} {}", door.at, door.from))
            .unwrap_or_default()
    }

    #[test]
    fn doors_say_from_where_they_are_reached() {
        let doors = of_daemon(&Config::of_flags(&[]));
        assert!(told(&doors, "peers").starts_with("[::]:7470 every network of this machine; only"));
        assert_eq!(told(&doors, "mirror"), "127.0.0.1:7472 this machine alone");
        assert!(doors.iter().all(|door| !door.is_wide));
        let set = [
            ("peer.listen", "10.0.0.1:1"),
            ("mirror.listen", "0.0.0.0:2"),
            ("status.listen", "off"),
        ];
        let doors = of_daemon(&Config::of_flags(&set));
        assert!(told(&doors, "peers").contains("the networks that reach 10.0.0.1;"));
        assert!(told(&doors, "mirror").contains("plain HTTP for whoever comes"));
        assert_eq!(told(&doors, "status"), "");
        let wide: Vec<_> = doors.iter().filter(|door| door.is_wide).collect();
        assert_eq!(wide.len(), 1);
        assert_eq!(of_scheduler(&Config::of_flags(&[]), true).len(), 2);
        assert_eq!(of_scheduler(&Config::of_flags(&[]), false).len(), 1);
    }
}
