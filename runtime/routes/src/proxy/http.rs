//! Owns requests: reading them strictly, finding their route, passing them on, and passing the answers back.

mod answer;
mod body;
mod dispatch;
mod exchange;
mod fields;
mod forward;
pub(super) mod fuzz;
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
use super::rewind::Peered;

/// Serves the requests of a connection, on a `LocalSet`: HTTP/2 where `h2` was agreed on, HTTP/1 otherwise.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Peered + Unpin + 'static>(
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
