//! Tunnels, and what ends them.

use std::time::Duration;

use super::*;

const CONNECT: &[u8] = b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n";

async fn idle_after(time: Duration) -> Harness {
    let limits = Limits {
        tunnel_idle: time,
        // No tunnel but one has a place.
        connections_max: 1,
        ..Limits::default()
    };
    Harness::within(10, &[], (Places::new(10), limits)).await
}

/// A tunnel through which `early` came back.
async fn tunnel(proxy: &Harness, early: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.address).await.expect("connects");
    stream.write_all(CONNECT).await.expect("writes");
    stream.write_all(early).await.expect("writes");
    let mut seen = Vec::new();
    while !seen.ends_with(&[b"\r\n\r\n", early].concat()) {
        seen.push(stream.read_u8().await.expect("bytes"));
    }
    stream
}

#[tokio::test]
async fn a_tunnel_through_which_nothing_comes_gives_its_place_back() {
    let proxy = idle_after(Duration::from_millis(200)).await;
    let mut first = tunnel(&proxy, b"one").await;
    let mut rest = Vec::new();
    first.read_to_end(&mut rest).await.expect("an end");
    assert!(rest.is_empty());
    let _second = tunnel(&proxy, b"two").await;
}

#[tokio::test]
async fn a_tunnel_lives_while_either_side_speaks() {
    let idle = Duration::from_millis(400);
    let proxy = idle_after(idle).await;
    let mut stream = tunnel(&proxy, b"one").await;
    let began = std::time::Instant::now();
    while began.elapsed() < idle * 3 {
        tokio::time::sleep(idle / 8).await;
        stream.write_all(b"x").await.expect("still there");
        assert_eq!(stream.read_u8().await.expect("an echo"), b'x');
    }
}

#[tokio::test]
async fn who_ends_its_side_hears_the_other_out() {
    let proxy = idle_after(Duration::from_secs(60)).await;
    let mut stream = tunnel(&proxy, b"one").await;
    stream.write_all(b"last words").await.expect("writes");
    stream.shutdown().await.expect("half closed");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("the rest");
    assert_eq!(rest, b"last words");
}
