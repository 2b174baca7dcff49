//! Answers that are not what was asked for, in every way known, over real sockets.

use std::time::Duration;

use crate::{
    AskError, Body, Origins, ReadError,
    testing::{
        Seen, Server, Step, TAG, config, content, door, drain, head, listed, quick_retries, range,
        reply, resolved, serve,
    },
};

/// Looks at 100 bytes at a well-behaved origin, then reads bytes 10..20 as `answer` gives them. Tells whether the whole
/// content came instead, and the bytes.
async fn read(
    answer: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static,
) -> Result<(bool, Vec<u8>), ReadError> {
    let server = Server::start(move |seen| match seen.method.as_str() {
        "HEAD" => serve(seen, &content(100), TAG),
        _ => answer(seen),
    })
    .await;
    let door = door(&[&server]);
    let resolved = resolved(&door, &server).await;
    Ok(match door.read(&resolved, range(10, 20)).await? {
        Body::Range(stream) => (false, drain(stream).await?),
        Body::Whole(stream) => (true, drain(stream).await?),
    })
}

/// The error of a read; it must hold no secret.
async fn failure(answer: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) -> ReadError {
    let error = read(answer).await.expect_err("an error");
    assert!(
        !format!("{error} {error:?}").contains("canary"),
        "{error:?}"
    );
    error
}

fn part(lines: &[(&str, &str)], body: &[u8]) -> Vec<Step> {
    reply(206, lines, body)
}

#[tokio::test]
async fn an_origin_that_ignores_ranges_is_read_as_a_whole() {
    let read = read(|_| reply(200, &[("etag", TAG)], &content(100))).await;
    assert_eq!(read.unwrap(), (true, content(100)));
}

#[tokio::test]
async fn answers_that_are_not_the_content_are_refused() {
    let good = ("content-range", "bytes 10-19/100");
    let etag = ("etag", TAG);
    let page = b"<html>please log in</html>";
    for (name, error) in [
        (
            "changed tag",
            failure(move |_| part(&[good, ("etag", "\"v2\"")], b"0123456789")).await,
        ),
        (
            "no tag",
            failure(move |_| part(&[good], b"0123456789")).await,
        ),
        (
            "weak tag",
            failure(move |_| part(&[good, ("etag", "W/\"v1\"")], b"0123456789")).await,
        ),
        (
            "other total",
            failure(move |_| part(&[("content-range", "bytes 10-19/101"), etag], b"0123456789"))
                .await,
        ),
        ("error page", failure(|_| reply(200, &[], page)).await),
        (
            "changed whole",
            failure(|_| reply(200, &[("etag", "\"v2\"")], &content(100))).await,
        ),
        ("412", failure(|_| reply(412, &[], b"")).await),
    ] {
        assert!(
            matches!(error, ReadError::Changed { .. }),
            "{name}: {error:?}"
        );
        assert!(error.is_permanent());
    }
    for told in [
        "bytes 0-9/100",
        "bytes 10-18/100",
        "bytes 10-20/100",
        "bytes 10-19",
        "x",
        "bytes */100",
    ] {
        let error = failure(move |_| part(&[("content-range", told), etag], b"0123456789")).await;
        assert!(
            matches!(error, ReadError::WrongRange { .. }),
            "{told}: {error:?}"
        );
    }
    let error = failure(move |_| part(&[etag], b"0123456789")).await;
    assert!(matches!(error, ReadError::WrongRange { .. }), "{error:?}");
    let error = failure(|_| reply(416, &[("content-range", "bytes */5")], b"")).await;
    assert!(matches!(error, ReadError::OutOfRange { .. }), "{error:?}");
    let error =
        failure(move |_| part(&[good, etag, ("content-encoding", "gzip")], b"0123456789")).await;
    assert!(matches!(error, ReadError::Encoded { .. }), "{error:?}");
    let error = failure(move |_| part(&[good, etag], b"012345678")).await;
    assert!(
        matches!(
            error,
            ReadError::WrongLength {
                told: 9,
                expected: 10,
                ..
            }
        ),
        "{error:?}"
    );
    let error = failure(move |_| reply(200, &[etag], b"")).await;
    assert!(
        matches!(
            error,
            ReadError::WrongLength {
                told: 0,
                expected: 100,
                ..
            }
        ),
        "{error:?}"
    );
}

/// An answer for bytes 10..20 whose body comes in chunks and without a length.
fn chunked(body: &[u8]) -> Vec<Step> {
    let mut bytes = head(
        206,
        &[
            ("etag", TAG),
            ("content-range", "bytes 10-19/100"),
            ("transfer-encoding", "chunked"),
        ],
    )
    .into_bytes();
    bytes.extend_from_slice(b"\r\n");
    for byte in body {
        bytes.extend_from_slice(&[b'1', b'\r', b'\n', *byte, b'\r', b'\n']);
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    vec![Step::Send(bytes)]
}

#[tokio::test]
async fn a_body_is_exactly_as_long_as_it_must_be() {
    let error = failure(|_| chunked(&content(100)[10..19])).await;
    assert!(
        matches!(
            error,
            ReadError::Short {
                received: 9,
                expected: 10,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(!error.is_permanent());
    let error = failure(|_| chunked(&content(100)[10..21])).await;
    assert!(
        matches!(error, ReadError::Long { expected: 10, .. }),
        "{error:?}"
    );
    let error = failure(|_| {
        let lines = [
            ("etag", TAG),
            ("content-range", "bytes 10-19/100"),
            ("content-length", "10"),
        ];
        part(&lines, b"0123")
    })
    .await;
    assert!(
        matches!(error, ReadError::Ask(AskError::Broken { .. })),
        "{error:?}"
    );
    assert!(!error.is_permanent());
    let read = read(|_| chunked(&content(100)[10..20])).await;
    assert_eq!(read.unwrap(), (false, content(100)[10..20].to_vec()));
}

#[tokio::test]
async fn refusals_tell_whether_to_come_back_and_when() {
    for status in [400, 401, 403, 404, 410, 451, 501] {
        let error = failure(move |_| reply(status, &[], b"")).await;
        let ReadError::Ask(AskError::Status { status: found, .. }) = &error else {
            panic!("{error:?}");
        };
        assert_eq!(found.as_u16(), status);
        assert!(error.is_permanent(), "{status}");
    }
    for status in [429, 500, 502, 503, 504] {
        let error = failure(move |_| reply(status, &[("retry-after", "7")], b"")).await;
        assert!(!error.is_permanent(), "{status}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    }
}

#[tokio::test]
async fn what_is_slow_but_moves_is_read_and_what_stands_still_is_not() {
    let lines = [
        ("etag", TAG),
        ("content-range", "bytes 10-19/100"),
        ("content-length", "10"),
    ];
    let read = read(move |_| {
        let mut steps = part(&lines, b"");
        for byte in &content(100)[10..20] {
            steps.push(Step::Send(vec![*byte]));
            steps.push(Step::Rest(Duration::from_millis(300)));
        }
        steps
    })
    .await;
    assert_eq!(read.unwrap(), (false, content(100)[10..20].to_vec()));
    let error = failure(move |_| {
        let mut steps = part(&lines, b"0123");
        steps.push(Step::Stall);
        steps
    })
    .await;
    assert!(
        matches!(error, ReadError::Ask(AskError::Stalled { .. })),
        "{error:?}"
    );
    assert!(!error.is_permanent());
}

#[tokio::test]
async fn a_body_that_breaks_off_is_resumed_at_the_exact_offset() {
    let bytes = content(100_000);
    let served = bytes.clone();
    let server = Server::start(move |seen| {
        let mut steps = serve(seen, &served, TAG);
        // Each answer loses all but its first 30,000 bytes.
        if let Some(Step::Send(body)) = steps.last_mut() {
            body.truncate(30_000);
        }
        steps
    })
    .await;
    let mut config = config(&listed(&[&server]));
    config.retry = quick_retries(4);
    let door = Origins::new(config).unwrap();
    let resolved = resolved(&door, &server).await;
    let Ok(Body::Range(stream)) = door.read(&resolved, range(5, 99_995)).await else {
        panic!("no body");
    };
    assert_eq!(drain(stream).await.unwrap(), bytes[5..99_995]);
    let starts: Vec<_> = server
        .seen()
        .iter()
        .filter_map(Seen::range)
        .map(|(first, _)| first)
        .collect();
    assert_eq!(starts, [5, 30_005, 60_005, 90_005]);
}

#[tokio::test]
async fn content_that_changes_half_way_is_not_resumed() {
    let server = Server::start(move |seen| match seen.range() {
        Some((first, _)) if first > 0 => serve(seen, &content(100_000), "\"v2\""),
        _ => {
            let mut steps = serve(seen, &content(100_000), TAG);
            if let Some(Step::Send(body)) = steps.last_mut() {
                body.truncate(30_000);
            }
            steps
        }
    })
    .await;
    let mut config = config(&listed(&[&server]));
    config.retry = quick_retries(4);
    let door = Origins::new(config).unwrap();
    let resolved = resolved(&door, &server).await;
    let Ok(Body::Range(stream)) = door.read(&resolved, range(0, 100_000)).await else {
        panic!("no body");
    };
    let error = drain(stream).await.unwrap_err();
    assert!(matches!(error, ReadError::Changed { .. }), "{error:?}");
}
