//! What clients of the ACME server send: requests, and the signing requests in them.

use certs::acme::server::fuzz;

/// The body of a request.
pub fn acme_request(bytes: &[u8]) {
    // Whether it is one does not matter, only that it is answered.
    let _ = fuzz::request(bytes);
}

/// A signing request in DER.
pub fn csr(bytes: &[u8]) {
    let _ = fuzz::signing_request(bytes);
}
