//! Whose socket takes connections to an address, by the kernel's word: the mirror's port is one that any user can have.

use std::{
    collections::BTreeSet,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::ProbeError;

/// Sockets of this network namespace.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];
/// TCP_LISTEN of the kernel.
const LISTENS: &str = "0A";

/// Whether nobody but `user` listens at `mirror`.
pub(crate) fn is_of(mirror: SocketAddr, user: u32) -> Result<(), ProbeError> {
    let mut users = BTreeSet::new();
    for table in TABLES {
        match fs::read_to_string(table) {
            Ok(table) => users.extend(users_of(&table, mirror)),
            // A system without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(ProbeError::Hidden(mirror, error)),
        }
    }
    match users.iter().find(|it| **it != user) {
        Some(stranger) => Err(ProbeError::Stranger(mirror, *stranger, user)),
        None if users.is_empty() => {
            let error = io::Error::other(format!("{} lists no such socket", TABLES[0]));
            Err(ProbeError::Hidden(mirror, error))
        }
        None => Ok(()),
    }
}

/// The users of the sockets in `table` that may take connections to `asked`.
fn users_of(table: &str, asked: SocketAddr) -> BTreeSet<u32> {
    let user = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, LISTENS, _, _, _, user, ..] = fields[..] else {
            return None;
        };
        let (ip, port) = address(local)?;
        let is_asked = port == asked.port() && takes(ip, asked.ip());
        is_asked.then(|| user.parse().ok()).flatten()
    };
    table.lines().skip(1).filter_map(user).collect()
}

/// All addresses of IPv6 may be those of IPv4 as well.
fn takes(listening: IpAddr, asked: IpAddr) -> bool {
    let listening = listening.to_canonical();
    listening == asked || listening.is_unspecified() && (listening.is_ipv6() || asked.is_ipv4())
}

/// `0100007F:1D30`: words of 32 bits in the machine's own order, and the port.
fn address(text: &str) -> Option<(IpAddr, u16)> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| {
        let word = u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some((ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_listens_is_known_by_the_kernel() {
        let me = rustix::process::geteuid().as_raw();
        for name in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(name) else {
                continue; // Without IPv6.
            };
            let port = listener.local_addr().expect("an address").port();
            let asked = if name.starts_with("[::1]") {
                "::1"
            } else {
                "127.0.0.1"
            };
            let mirror = SocketAddr::new(asked.parse().expect("an address"), port);
            is_of(mirror, me).expect(name);
            let stranger = is_of(mirror, me + 1);
            assert!(matches!(stranger, Err(ProbeError::Stranger(_, it, _)) if it == me));
            drop(listener);
            assert!(matches!(is_of(mirror, me), Err(ProbeError::Hidden(..))));
        }
    }

    #[test]
    fn everybody_who_may_be_asked_counts() {
        let line = |local: &str, state: &str, user: u32| {
            let zero = local
                .split(':')
                .next()
                .expect("an address")
                .replace(|_| true, "0");
            format!(
                "   0: {local} {zero}:0000 {state} 00000000:00000000 00:00000000 00000000 {user:5} 0 1 1 0 100 0\n"
            )
        };
        let v4 = |address: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(address));
        let local = format!("{}:1D30", v4([127, 0, 0, 1]));
        let all = format!("{}:1D30", v4([0; 4]));
        let other = format!("{}:1D30", v4([10, 0, 0, 1]));
        let mapped = format!(
            "{0}{0}{1:08X}{2}:1D30",
            "00000000",
            0xFFFF_u32.to_be(),
            v4([127, 0, 0, 1])
        );
        let table = [
            "  sl  local_address rem_address   st\n".to_owned(),
            line(&local, "0A", 1),
            line(&all, "0A", 2),
            line(&other, "0A", 3),
            line(&local, "01", 4),
            line(&local.replace("1D30", "1D31"), "0A", 5),
            line(&format!("{}:1D30", "0".repeat(32)), "0A", 6),
            line(&mapped, "0A", 7),
            "   9: broken 0A\n".to_owned(),
        ];
        let users = users_of(
            &table.concat(),
            "127.0.0.1:7472".parse().expect("an address"),
        );
        assert_eq!(users, BTreeSet::from([1, 2, 6, 7]));
        let users = users_of(&table.concat(), "[::1]:7472".parse().expect("an address"));
        assert_eq!(users, BTreeSet::from([6]));
    }
}
