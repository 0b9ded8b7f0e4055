//! What clients and back ends send the proxy: heads of HTTP/1, and what follows them.

/// A head, with what follows it as chunks.
pub fn http_head(bytes: &[u8]) {
    // Whether it is taken does not matter, only that nothing else is passed on.
    let _ = routes::proxy::http_head(bytes);
}
