//! What connections to the proxy begin with.

/// The header of the PROXY protocol, by which other proxies say whose a connection is.
pub fn proxy_header(bytes: &[u8]) {
    if let Some(length) = routes::fuzz::proxy_header(bytes) {
        assert!(length <= bytes.len(), "a header is no longer than what came");
        for cut in 0..length {
            assert!(routes::fuzz::proxy_header(&bytes[..cut]).is_none(), "it was whole after {cut} octets");
        }
    }
}

/// A ClientHello: the first octet says in how long parts it comes, which makes no difference.
pub fn client_hello(bytes: &[u8]) {
    let Some((part, hello)) = bytes.split_first() else { return };
    let at_once = routes::fuzz::client_hello(hello, usize::MAX);
    let in_parts = routes::fuzz::client_hello(hello, usize::from(*part));
    if let (Some(one), Some(other)) = (&at_once, &in_parts) {
        assert_eq!(one, other, "another name is asked for in parts");
    }
    for name in at_once.into_iter().chain(in_parts).flatten() {
        assert!(name.len() <= 253 && !name.bytes().any(|byte| byte.is_ascii_uppercase()), "`{name}`");
    }
}
