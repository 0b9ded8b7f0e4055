//! Owns requests: reading them strictly, finding their route, passing them on, and passing the answers back.

mod answer;
mod body;
mod dispatch;
mod exchange;
mod fields;
mod forward;
mod h1;
mod h2;
mod head;
mod id;
mod request;
mod streams;
mod target;
mod tunnel;
mod upstream;
mod watch;
mod wire;

use tokio::io::{AsyncRead, AsyncWrite};

use super::arrival::Arrival;

/// Serves the requests of a connection, on a `LocalSet`: HTTP/2 where `h2` was agreed on, HTTP/1 otherwise.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    stream: S,
    h2: bool,
    arrival: Arrival,
) {
    if h2 {
        h2::serve(stream, arrival).await;
    } else {
        h1::serve(stream, arrival).await;
    }
}

/// Reads the head of a request, of an answer, and a body in chunks, of whatever is there.
pub(crate) fn try_heads(bytes: &[u8]) {
    let mut search = head::Search::default();
    let Ok(Some(length)) = search.find(bytes) else { return };
    let mut request = request::Request::default();
    if head::read_request(&bytes[..length], &mut request, bytes.len() % 2 == 0).is_ok() {
        assert!(target::is_authority(request.host.as_bytes()), "a host that is none was let through");
        let is_line = |text: &[u8]| !text.iter().any(|byte| matches!(byte, b'\n' | b'\r' | 0));
        assert!(
            is_line(request.target.as_bytes()) && is_line(&request.upgrade),
            "a line was let through as two"
        );
        assert!(request.fields.iter().all(|(name, value)| is_line(name) && is_line(value)));
        let _ = target::path_of(&request.target);
    }
    let mut answer = answer::Answer::default();
    let _ = head::read_answer(&bytes[..length], &mut answer, false);
    let mut body = body::Reader::default();
    body.chunks();
    let mut rest = &bytes[length..];
    loop {
        match body.next(rest) {
            Ok(body::Next::Skip(octets)) => rest = &rest[octets..],
            Ok(body::Next::Data(octets)) => {
                body.taken(octets);
                rest = &rest[octets..];
            }
            _ => return,
        }
    }
}
