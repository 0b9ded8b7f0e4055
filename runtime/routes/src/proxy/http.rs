//! Owns requests: reading them, having them answered, and writing the answers.

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::arrival::Arrival;

/// Serves the requests of a connection.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    mut stream: S,
    _h2: bool,
    _arrival: Arrival,
) {
    let _ = stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
}
