//! Peers that are down, slow, or something else than mcrun.

use effect::Code;
use routes::Driver as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

use crate::stage::{Side, over_socket, route};

/// What answers at a socket in the place of mcrun.
fn fake(says: Option<&'static [u8]>) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fake.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Some(says) = says else { return std::future::pending().await };
                let _ = stream.read_u8().await;
                let _ = stream.write_all(says).await;
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            });
        }
    });
    (folder, path)
}

#[tokio::test]
async fn what_does_not_speak_http_2_is_not_mcrun() {
    for says in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"220 mail.example ESMTP\r\n\r\n\r\n\r\n"] {
        let (_folder, path) = fake(Some(says));
        let error = over_socket(&path).list().await.unwrap_err();
        assert_eq!(error.code, Code::ProxyAnswer, "{error:?}");
    }
}

#[tokio::test]
async fn a_peer_that_closes_at_once_does_not_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fake.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let error = over_socket(&path).list().await.unwrap_err();
    assert_eq!((error.code, error.retryable), (Code::ProxyUnavailable, true), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_given_up() {
    let (_folder, path) = fake(None);
    let error = over_socket(&path).list().await.unwrap_err();
    assert_eq!((error.code, error.retryable), (Code::ProxyUnavailable, true), "{error:?}");
}

#[tokio::test]
async fn a_driver_finds_a_peer_that_came_back() {
    let side = Side::new();
    let client = side.here().await;
    client.put(&route("mcq.metacircular.net", json!({}))).await.unwrap();
    side.end();
    let gone = async {
        while client.list().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    gone.await;
    let again = Side::new();
    let listener = daemon::routes::open_socket(&side.socket(), None).await.unwrap();
    let (_over, ends) = tokio::sync::watch::channel(false);
    tokio::spawn(daemon::routes::serve_socket(listener, (again.server.clone(), again.gate()), ends));
    assert_eq!(client.list().await.unwrap(), []);
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_and_the_connection_goes_on() {
    let side = Side::new();
    let client = side.here().await;
    let text = "x".repeat(2 << 20);
    let large = route("mcq.metacircular.net", json!({ "maintenance": { "text": text }, "backends": [] }));
    let error = client.admit(&large).await.unwrap_err();
    assert_eq!(error.code, Code::ProxyRefused, "{error:?}");
    assert_eq!(client.list().await.unwrap(), []);
}
