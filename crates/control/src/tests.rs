//! What is written is read again, and what is not ours is refused.

use std::time::Duration;

use proptest::prelude::*;
use prost::Message;
use types::{
    ByteCount, Digest, Epoch, HostId, Layout, Moment, PieceIndex, PieceRun, Source, TaskId,
    Validator,
};

use crate::{
    Ask, CanImport, FailCause, Found, Have, HostMessage, Introduce, Inventory, Join, Lease,
    LeaseClaim, LeaseFailed, Malformed, Neighbour, OriginFailure, Progress, Recruit, Refusal,
    SchedulerMessage, Stamped, Term, proto,
};

fn task() -> impl Strategy<Value = TaskId> {
    any::<[u8; 32]>().prop_map(TaskId::from_bytes)
}

fn host() -> impl Strategy<Value = HostId> {
    any::<[u8; 32]>().prop_map(HostId::from_bytes)
}

fn layout() -> impl Strategy<Value = Layout> {
    (0u64..1 << 40).prop_map(|length| Layout::of(ByteCount(length)).expect("a layout"))
}

fn failure() -> impl Strategy<Value = OriginFailure> {
    prop_oneof![
        Just(OriginFailure::NotFound),
        Just(OriginFailure::Denied),
        Just(OriginFailure::Forbidden),
        Just(OriginFailure::Mismatch),
        Just(OriginFailure::Unreachable),
        Just(OriginFailure::Overloaded),
    ]
}

fn source(digest: [u8; 32], is_blob: bool) -> Source {
    if is_blob {
        Source::Blob {
            registry: "registry.example:5000".parse().expect("a registry"),
            repository: "library/a".parse().expect("a repository"),
            digest: Digest::sha256(digest),
        }
    } else {
        Source::Url("https://example.com/a?b=c@d".to_owned())
    }
}

fn found(layout: Layout, number: u32) -> Found {
    let length = layout.length();
    let validator = match number % 3 {
        0 => None,
        1 => Some(Validator::ETag("\"one\"".to_owned())),
        _ => Some(Validator::Modified {
            at: "Sat, 04 Jul 2026 10:00:00 GMT".to_owned(),
            length: length.0,
        }),
    };
    Found { length, validator }
}

fn ask() -> impl Strategy<Value = Ask> {
    let have = prop_oneof![
        Just(Have::None),
        any::<u32>().prop_map(Have::Some),
        Just(Have::All)
    ];
    let rights = prop_oneof![
        Just(CanImport::No),
        Just(CanImport::Anonymous),
        Just(CanImport::Credentialed)
    ];
    let digest = any::<[u8; 32]>();
    (
        task(),
        proptest::option::of(layout()),
        have,
        rights,
        digest,
        any::<bool>(),
    )
        .prop_map(|(task, layout, have, can_import, digest, flag)| Ask {
            task,
            source: Some(source(digest, flag)),
            layout,
            can_import,
            have,
            visibility: if flag {
                types::Visibility::Public
            } else {
                types::Visibility::Private
            },
            digest: flag.then(|| Digest::blake3(digest)),
        })
}

fn inventory() -> impl Strategy<Value = HostMessage> {
    let lists = (
        proptest::collection::vec((task(), any::<u64>(), any::<u64>()), 0..4),
        proptest::collection::vec(ask(), 0..4),
        proptest::collection::vec(task(), 0..4),
    );
    lists.prop_map(|(leases, running, holdings)| {
        let leases = leases.into_iter().map(|(task, epoch, wait)| LeaseClaim {
            task,
            epoch: Epoch(epoch),
            remaining: Duration::from_nanos(wait),
        });
        HostMessage::Inventory(Inventory {
            leases: leases.collect(),
            running,
            holdings,
        })
    })
}

fn host_message() -> impl Strategy<Value = HostMessage> {
    let join = (any::<u16>(), any::<bool>(), any::<[u8; 4]>(), 1u16..).prop_filter_map(
        "an address",
        |(capacity, is_seed, ip, port)| {
            let ip = std::net::IpAddr::from(ip);
            (!ip.is_multicast() && ip != std::net::Ipv4Addr::BROADCAST).then(|| {
                HostMessage::Join(Join {
                    topology: "eu/a/r1".parse().expect("a place"),
                    is_seed,
                    listen: vec![(ip, port).into()],
                    capacity,
                    version: "0.1.0".to_owned(),
                })
            })
        },
    );
    let numbers = (task(), any::<u32>(), any::<u64>(), failure(), any::<bool>());
    let small = (numbers, 0..12, host(), layout()).prop_map(|(numbers, which, of, layout)| {
        let (task, number, epoch, cause, flag) = numbers;
        let epoch = Epoch(epoch);
        match which {
            0 => HostMessage::Progress(Progress {
                task,
                have: number,
                lease: flag.then_some(epoch),
                imported: number / 2,
                left: number / 3,
            }),
            1 => HostMessage::Resolved { task, layout },
            2 => HostMessage::LeaseFailed(LeaseFailed {
                task,
                epoch,
                cause,
                permanent: flag,
            }),
            3 => HostMessage::LeaseReturned { task, epoch },
            4 => HostMessage::Holdings {
                added: vec![task],
                removed: vec![task, task],
            },
            5 => HostMessage::Left { task },
            6 => HostMessage::Look {
                source: source(*of.as_bytes(), flag),
            },
            7 => HostMessage::Looked {
                source: source(*of.as_bytes(), flag),
                found: flag.then(|| found(layout, number)),
            },
            8 => HostMessage::Blame { of },
            9 => HostMessage::Doubt { of, task },
            10 => HostMessage::Vouchers {
                task,
                digest: Digest::sha256(*of.as_bytes()),
                importers: vec![of; number as usize % 3],
            },
            _ if flag => HostMessage::Ping,
            _ => HostMessage::Goodbye,
        }
    });
    prop_oneof![join, inventory(), ask().prop_map(HostMessage::Ask), small]
}

fn term(wide: u64, number: u32) -> Term {
    Term {
        counted_from: Moment(wide),
        valid_for: Duration::from_nanos(wide),
        margin: Duration::from_nanos(u64::from(number)),
    }
}

fn scheduler_message() -> impl Strategy<Value = SchedulerMessage> {
    let numbers = (any::<u64>(), any::<u32>(), any::<bool>());
    (task(), host(), layout(), failure(), numbers, 0..15).prop_map(
        |(task, host, layout, cause, (wide, number, flag), which)| {
            let neighbour = Neighbour {
                host,
                addresses: vec!["10.0.0.1:7".parse().expect("an address")],
                topology: "eu".parse().expect("a place"),
            };
            let term = term(wide, number);
            let epoch = Epoch(wide);
            match which {
                0 => SchedulerMessage::Welcome {
                    cluster: "a".parse().expect("a name"),
                    instance: wide,
                },
                1 => SchedulerMessage::Queued {
                    task,
                    layout: flag.then_some(layout),
                },
                2 => SchedulerMessage::Refused {
                    task: flag.then_some(task),
                    cause: Refusal::TooFast {
                        retry_after: Duration::from_nanos(wide),
                    },
                },
                3 => SchedulerMessage::Introduce(Introduce {
                    task,
                    reset: flag,
                    add: vec![neighbour],
                    remove: vec![host],
                }),
                4 => SchedulerMessage::Grant {
                    task,
                    lease: Lease {
                        epoch,
                        run: PieceRun {
                            first: PieceIndex(number),
                            count: number,
                        },
                        term,
                    },
                },
                5 => SchedulerMessage::Renew { task, epoch, term },
                6 => SchedulerMessage::Revoke { task, epoch },
                7 => SchedulerMessage::Fail {
                    task,
                    cause: if flag {
                        FailCause::NobodyCanImport
                    } else {
                        FailCause::Origin(cause)
                    },
                },
                8 => SchedulerMessage::Recruit(Recruit {
                    task,
                    source: source(*host.as_bytes(), flag),
                    layout: Some(layout),
                    digest: None,
                    visibility: types::Visibility::Public,
                }),
                9 => SchedulerMessage::Members {
                    seeds: vec![neighbour],
                },
                10 => SchedulerMessage::Look {
                    source: source(*host.as_bytes(), flag),
                },
                11 => SchedulerMessage::Looked {
                    source: source(*host.as_bytes(), flag),
                    found: found(layout, number),
                },
                12 => SchedulerMessage::Revocations(wide.to_le_bytes().to_vec()),
                13 => SchedulerMessage::Certificates(vec![wide.to_le_bytes().to_vec()]),
                _ => SchedulerMessage::Pong { sent: Moment(wide) },
            }
        },
    )
}

proptest! {
    #[test]
    fn what_a_host_says_is_heard(sent: u64, message in host_message()) {
        let stamped = Stamped { sent: Moment(sent), message };
        let bytes = proto::HostMessage::from(stamped.clone()).encode_to_vec();
        let read = proto::HostMessage::decode(&bytes[..]).expect("protobuf");
        prop_assert_eq!(Stamped::try_from(read), Ok(stamped));
    }

    #[test]
    fn what_a_scheduler_says_is_heard(message in scheduler_message()) {
        let bytes = proto::SchedulerMessage::from(message.clone()).encode_to_vec();
        let read = proto::SchedulerMessage::decode(&bytes[..]).expect("protobuf");
        prop_assert_eq!(SchedulerMessage::try_from(read), Ok(message));
    }

    #[test]
    fn noise_is_refused_without_a_panic(bytes: Vec<u8>) {
        if let Ok(read) = proto::HostMessage::decode(&bytes[..]) {
            let _ = Stamped::try_from(read);
        }
        if let Ok(read) = proto::SchedulerMessage::decode(&bytes[..]) {
            let _ = SchedulerMessage::try_from(read);
        }
    }
}

fn refused(kind: proto::host_message::Kind) -> Malformed {
    let message = proto::HostMessage {
        sent: 1,
        kind: Some(kind),
    };
    Stamped::try_from(message).expect_err("a bound is broken")
}

#[test]
fn broken_bounds_are_refused() {
    use proto::host_message::Kind;
    let join = |ip: &[u8], port, count| {
        let ip = ip.to_vec();
        Kind::Join(proto::Join {
            listen: vec![proto::Address { ip, port }; count],
            ..proto::Join::default()
        })
    };
    assert_eq!(refused(join(&[224, 0, 0, 1], 1, 1)), Malformed("address"));
    assert_eq!(refused(join(&[10, 0, 0, 1], 0, 1)), Malformed("address"));
    assert_eq!(refused(join(&[10, 0, 0, 1], 65_536, 1)), Malformed("port"));
    assert_eq!(refused(join(&[10, 0, 0], 1, 1)), Malformed("address"));
    assert_eq!(refused(join(&[10, 0, 0, 1], 1, 0)), Malformed("no address"));
    let many = join(&[10, 0, 0, 1], 1, Join::LISTEN_MAX + 1);
    assert_eq!(refused(many), Malformed("too many addresses"));
    let added = vec![vec![0; 32]; Inventory::HOLDINGS_MAX + 1];
    let removed = Vec::new();
    let holdings = Kind::Holdings(proto::Holdings { added, removed });
    assert_eq!(refused(holdings), Malformed("too many tasks"));
    for tag in [
        String::new(),
        "a\nb".to_owned(),
        "a".repeat(Found::VALIDATOR_MAX + 1),
    ] {
        let validator = Some(proto::found::Validator::Etag(tag));
        let kind = Some(proto::source::Kind::Url("https://a/".to_owned()));
        let looked = proto::Looked {
            source: Some(proto::Source { kind }),
            found: Some(proto::Found {
                length: 1,
                validator,
            }),
        };
        assert_eq!(refused(Kind::Looked(looked)), Malformed("found"));
    }
    for url in ["https://user:word@a/", "no url", "https://a/\u{0}", "a@b"] {
        let kind = Some(proto::source::Kind::Url(url.to_owned()));
        let ask = proto::Ask {
            task: vec![0; 32],
            source: Some(proto::Source { kind }),
            ..proto::Ask::default()
        };
        assert_eq!(refused(Kind::Ask(ask)), Malformed("url"), "{url}");
    }
}
