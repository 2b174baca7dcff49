//! Origins that behave badly in every way known, over real sockets.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use types::{ByteCount, Validator, Visibility};

use crate::{
    AskError, Body, Origins, ReadError, RedirectProblem, Request, ResolveError, SecretHeaders,
    testing::{
        Seen, Server, Step, TAG, config, content, door, drain, head, listed, quick_retries, range,
        reply, request, resolved, serve,
    },
};

#[tokio::test]
async fn content_is_looked_at_and_read_in_parts() {
    let bytes = content(300_000);
    let served = bytes.clone();
    let server = Server::start(move |seen| serve(seen, &served, TAG)).await;
    let door = door(&[&server]);
    let resolved = resolved(&door, &server).await;
    assert_eq!(resolved.length, Some(ByteCount(300_000)));
    assert_eq!(resolved.validator, Some(Validator::ETag(TAG.into())));
    assert_eq!(resolved.canonical_url, server.url("/f"));
    assert!(!format!("{resolved:?}").contains("canary"));
    let parts = [(0, 100_000), (100_000, 299_999), (299_999, 300_000), (5, 5)];
    let read = join_all(parts.map(|(start, end)| door.read(&resolved, range(start, end)))).await;
    for (body, (start, end)) in read.into_iter().zip(parts) {
        let Ok(Body::Range(stream)) = body else {
            panic!("{body:?}");
        };
        assert_eq!(stream.length(), Some(end - start));
        assert_eq!(
            drain(stream).await.unwrap(),
            bytes[start as usize..end as usize]
        );
    }
    let asked: Vec<Seen> = server
        .seen()
        .into_iter()
        .filter(|seen| seen.method == "GET")
        .collect();
    assert_eq!(asked.len(), 3, "an empty range needs no request");
    assert!(asked.iter().all(|seen| seen.line("if-range") == Some(TAG)
        && seen.line("accept-encoding") == Some("identity")));
    let stats = &door.stats()[0].1;
    assert_eq!(
        (stats.requests, stats.succeeded, stats.body_bytes),
        (4, 4, 300_000)
    );
}

#[tokio::test]
async fn an_origin_that_asks_to_be_left_alone_is_left_alone_by_everybody() {
    let server = Server::start(|_| reply(429, &[("retry-after", "100000")], b"")).await;
    let door = door(&[&server]);
    let ask = || async { door.resolve(&request(&server.url("/a"))).await.unwrap_err() };
    assert!(matches!(
        ask().await,
        ResolveError::Ask(AskError::Status { .. })
    ));
    let error = ask().await;
    assert!(
        matches!(error, ResolveError::Ask(AskError::Paused { .. })),
        "{error:?}"
    );
    assert!(
        error
            .retry_after()
            .is_some_and(|left| left <= Duration::from_secs(60))
    );
    assert_eq!(server.seen().len(), 1);
    assert_eq!(door.stats()[0].1.throttled, 1);
}

#[tokio::test]
async fn passing_failures_are_tried_again_so_often_and_no_more() {
    let failures = Arc::new(Mutex::new(2));
    let left = Arc::clone(&failures);
    let server = Server::start(move |seen| {
        let mut left = left.lock();
        if *left > 0 {
            *left -= 1;
            return reply(503, &[("retry-after", "0")], b"");
        }
        serve(seen, &content(10), TAG)
    })
    .await;
    let mut config = config(&listed(&[&server]));
    config.retry = quick_retries(3);
    let door = Origins::new(config).unwrap();
    resolved(&door, &server).await;
    *failures.lock() = 100;
    let before = server.seen().len();
    door.resolve(&request(&server.url("/f"))).await.unwrap_err();
    assert_eq!(server.seen().len() - before, 3);
}

#[tokio::test]
async fn where_head_is_refused_the_first_byte_tells_as_much() {
    for status in [403, 405, 501] {
        let server = Server::start(move |seen| match seen.method.as_str() {
            "HEAD" => reply(status, &[], b""),
            _ => serve(seen, &content(42), TAG),
        })
        .await;
        let resolved = resolved(&door(&[&server]), &server).await;
        assert_eq!(resolved.length, Some(ByteCount(42)));
    }
    let server = Server::start(|seen| match seen.method.as_str() {
        "HEAD" => reply(405, &[], b""),
        _ => reply(416, &[("content-range", "bytes */0")], b""),
    })
    .await;
    let door = door(&[&server]);
    assert_eq!(resolved(&door, &server).await.length, Some(ByteCount(0)));
}

#[tokio::test]
async fn content_without_a_validator_is_only_read_in_one_go() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "HEAD" => reply(200, &[("content-length", "100")], b""),
        _ => reply(200, &[], &content(100)),
    })
    .await;
    let door = door(&[&server]);
    let resolved = resolved(&door, &server).await;
    assert_eq!(resolved.validator, None);
    let error = door.read(&resolved, range(0, 10)).await.unwrap_err();
    assert!(matches!(error, ReadError::Unpinned { .. }), "{error:?}");
    let Ok(Body::Range(stream)) = door.read(&resolved, range(0, 100)).await else {
        panic!("no body");
    };
    assert_eq!(drain(stream).await.unwrap(), content(100));
}

#[tokio::test]
async fn content_of_unknown_length_is_spooled_to_its_end() {
    let server = Server::start(|seen| {
        let mut steps = vec![Step::Send(
            format!("{}\r\n", head(200, &[("transfer-encoding", "chunked")])).into_bytes(),
        )];
        if seen.method == "GET" {
            steps.push(Step::Send(b"5\r\nhello\r\n".to_vec()));
            steps.push(Step::Send(b"6\r\n world\r\n0\r\n\r\n".to_vec()));
        }
        steps
    })
    .await;
    let door = door(&[&server]);
    let resolved = resolved(&door, &server).await;
    assert_eq!(resolved.length, None);
    let stream = door.spool(&resolved).await.unwrap();
    assert_eq!(stream.length(), None);
    assert_eq!(drain(stream).await.unwrap(), b"hello world");
}

#[tokio::test]
async fn redirects_are_followed_so_far_and_no_further() {
    let server = Server::start(|seen| match seen.target.as_str() {
        "/loop" => reply(302, &[("location", "/loop")], b""),
        "/metadata" => reply(302, &[("location", "http://169.254.169.254/latest")], b""),
        "/numeric" => reply(302, &[("location", "http://2852039166/latest")], b""),
        "/file" => reply(302, &[("location", "file:///etc/passwd")], b""),
        "/twice" => reply(307, &[("location", "once")], b""),
        "/once" => reply(301, &[("location", "/f?signature=canary")], b""),
        _ => serve(seen, &content(10), TAG),
    })
    .await;
    let door = door(&[&server]);
    let ask = |path| {
        let request = request(&server.url(path));
        let door = &door;
        async move { door.resolve(&request).await }
    };
    let fine = ask("/twice").await.unwrap();
    assert_eq!(fine.length, Some(ByteCount(10)));
    assert!(!format!("{fine:?}").contains("canary"));
    assert!(matches!(
        ask("/loop").await.unwrap_err(),
        ResolveError::Ask(AskError::Redirect {
            problem: RedirectProblem::TooMany { limit: 5 },
            ..
        })
    ));
    assert!(matches!(
        ask("/file").await.unwrap_err(),
        ResolveError::Ask(AskError::Redirect {
            problem: RedirectProblem::Nowhere,
            ..
        })
    ));
    for path in ["/metadata", "/numeric"] {
        let error = ask(path).await.unwrap_err();
        assert!(
            matches!(error, ResolveError::Ask(AskError::Refused(_))),
            "{error:?}"
        );
        assert!(error.is_permanent());
    }
}

#[tokio::test]
async fn credentials_never_reach_another_origin() {
    let stranger = Server::start(|seen| serve(seen, &content(10), TAG)).await;
    let away = stranger.url("/blob?sig=canary");
    let home = Server::start(move |seen| match seen.target.as_str() {
        "/here" => reply(302, &[("location", "/file")], b""),
        "/file" => serve(seen, &content(10), TAG),
        _ => reply(302, &[("location", &away)], b""),
    })
    .await;
    let door = door(&[&home, &stranger]);
    let mut lines = HeaderMap::new();
    for name in ["authorization", "cookie", "x-api-key", "private-token"] {
        lines.insert(name, HeaderValue::from_static("canary-of-mine"));
    }
    let ask = |path| Request::new(&home.url(path), SecretHeaders::new(lines.clone())).unwrap();
    let resolved = door.resolve(&ask("/away")).await.unwrap();
    assert_eq!(resolved.visibility, Visibility::Private);
    let Ok(Body::Range(stream)) = door.read(&resolved, range(2, 8)).await else {
        panic!("no body");
    };
    assert_eq!(drain(stream).await.unwrap(), content(10)[2..8]);
    door.resolve(&ask("/here")).await.unwrap();
    assert!(!format!("{resolved:?} {:?}", ask("/here")).contains("canary"));
    for seen in stranger.seen() {
        assert!(
            !format!("{:?}", seen.lines).contains("canary-of-mine"),
            "{seen:?}"
        );
    }
    let at_home = home.seen();
    assert!(
        at_home
            .iter()
            .all(|seen| seen.line("authorization") == Some("canary-of-mine"))
    );
    assert_eq!(
        at_home.iter().filter(|seen| seen.target == "/file").count(),
        1
    );
}

#[tokio::test]
async fn floods_of_headers_end_the_exchange() {
    let line = "x-flood: 1\r\n".repeat(1000);
    let long = format!("x-flood: {}\r\n", "1".repeat(1 << 20));
    for flood in [line, long] {
        let server = Server::start(move |_| {
            let head = format!("HTTP/1.1 200 OK\r\n{flood}\r\n");
            vec![Step::Send(head.into_bytes())]
        })
        .await;
        let door = door(&[&server]);
        let error = door.resolve(&request(&server.url("/f"))).await.unwrap_err();
        assert!(
            matches!(error, ResolveError::Ask(AskError::Broken { .. })),
            "{error:?}"
        );
        assert_eq!(door.stats()[0].1.unanswered, 1);
    }
}

#[tokio::test]
async fn what_is_no_http_is_an_error() {
    for nonsense in [
        "",
        "SSH-2.0-OpenSSH_9\r\n",
        "HTTP/1.1 99999 X\r\n\r\n",
        "HTTP/0.9 200\r\n\r\n",
    ] {
        let server = Server::start(|_| vec![Step::Send(nonsense.as_bytes().to_vec())]).await;
        let error = door(&[&server])
            .resolve(&request(&server.url("/f")))
            .await
            .unwrap_err();
        assert!(
            matches!(error, ResolveError::Ask(AskError::Broken { .. })),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn equal_looks_at_the_same_time_share_one_request_and_other_callers_do_not() {
    let server = Server::start(|seen| {
        let mut steps = vec![Step::Rest(Duration::from_millis(100))];
        steps.extend(serve(seen, &content(10), TAG));
        steps
    })
    .await;
    let door = door(&[&server]);
    let anonymous = request(&server.url("/f"));
    let line = HeaderValue::from_static("Bearer mine");
    let mine = Request::new(&server.url("/f"), SecretHeaders::authorization(line)).unwrap();
    let looks = [&anonymous, &anonymous, &mine, &anonymous, &mine].map(|one| door.resolve(one));
    for resolved in join_all(looks).await {
        assert_eq!(resolved.unwrap().length, Some(ByteCount(10)));
    }
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn the_budget_bounds_how_much_is_asked_at_once() {
    let inside = Arc::new(Mutex::new((0usize, 0usize)));
    let count = Arc::clone(&inside);
    let server = Server::start(move |seen| {
        if seen.method == "GET" {
            let mut count = count.lock();
            count.0 += 1;
            count.1 = count.1.max(count.0);
        }
        let mut steps = serve(seen, &content(100), TAG);
        steps.insert(0, Step::Rest(Duration::from_millis(20)));
        steps
    })
    .await;
    let mut config = config(&listed(&[&server]));
    config.budget.concurrency = 2;
    let door = Origins::new(config).unwrap();
    let resolved = resolved(&door, &server).await;
    let reads = (0..12).map(|at| {
        let (door, resolved, inside) = (&door, &resolved, &inside);
        async move {
            let Ok(Body::Range(stream)) = door.read(resolved, range(at, at + 1)).await else {
                panic!("no body");
            };
            inside.lock().0 -= 1;
            drain(stream).await.unwrap();
        }
    });
    join_all(reads).await;
    let most = inside.lock().1;
    assert!((1..=2).contains(&most), "{most}");
}

#[tokio::test]
async fn a_closed_door_leaves_no_task_behind() {
    let server = Server::start(|_| vec![Step::Stall]).await;
    let door = door(&[&server]);
    let ask = request(&server.url("/"));
    let (outcome, ()) = tokio::join!(door.resolve(&ask), async {
        while server.seen().is_empty() {
            tokio::task::yield_now().await;
        }
        door.close().await;
    });
    assert!(outcome.is_err());
}
