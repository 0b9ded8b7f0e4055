//! Owns what requests are for: host names with ports, and paths, as requests have them.

use std::borrow::Cow;

/// Whether `authority` is a host, perhaps with a port: no user, no list, nothing that one reader takes for another.
pub(super) fn is_authority(authority: &[u8]) -> bool {
    let (host, port) = split(authority);
    let is_port = port.is_none_or(|port| {
        port.len() <= 5 && str::from_utf8(port).is_ok_and(|port| port.is_empty() || is_port(port))
    });
    let is_host = match host.strip_prefix(b"[") {
        Some(rest) => rest.strip_suffix(b"]").is_some_and(|address| {
            str::from_utf8(address).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
        }),
        None => (1..=255).contains(&host.len()) && host.iter().all(|byte| is_host_byte(*byte)),
    };
    is_port && is_host
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

fn split(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let after = authority.iter().rposition(|byte| *byte == b']').map_or(0, |at| at + 1);
    match authority[after..].iter().position(|byte| *byte == b':') {
        Some(at) => (&authority[..after + at], Some(&authority[after + at + 1..])),
        None => (authority, None),
    }
}

/// Puts the name that routes are found by into `name`: without port, brackets and last dot, in lower case.
pub(super) fn name_of(authority: &[u8], name: &mut String) {
    let (host, _) = split(authority);
    let host = host.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).unwrap_or(host);
    let host = host.strip_suffix(b".").unwrap_or(host);
    name.clear();
    name.extend(host.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
}

/// Whether `target` is a path with an optional query, of visible ASCII without what only a fragment has.
pub(super) fn is_path(target: &[u8]) -> bool {
    target.first() == Some(&b'/') && target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#')
}

/// The path that routes are found by: without its query, and as a server reads it that resolves `..`, so that no request
/// finds one route and means another.
pub(super) fn path_of(target: &str) -> Cow<'_, str> {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let is_plain =
        !path.contains('%') && !path.contains("/.") && !path.contains("//") && !path.contains('\\');
    if is_plain { Cow::Borrowed(path) } else { Cow::Owned(resolved(path)) }
}

fn resolved(path: &str) -> String {
    let decoded = decode(path);
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split(['/', '\\']) {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut whole = String::with_capacity(decoded.len());
    for segment in segments {
        whole.push('/');
        whole.push_str(segment);
    }
    if whole.is_empty() || decoded.ends_with('/') {
        whole.push('/');
    }
    whole
}

/// With what `%` stands for in visible ASCII; the rest is left, as no route has it.
fn decode(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut decoded = String::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|two| str::from_utf8(two).ok());
        let meant = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(u8::is_ascii_graphic);
        match meant {
            Some(meant) if *byte == b'%' => {
                decoded.push(char::from(meant));
                at += 3;
            }
            _ => {
                decoded.push(char::from(*byte));
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_with_a_port() {
        for right in ["a.example", "A:443", "127.0.0.1:8080", "[::1]", "[::1]:80", "a.example.", "a:"] {
            assert!(is_authority(right.as_bytes()), "{right}");
        }
        for wrong in [
            "", ":80", "a b", "a,b", "u@a", "a:b", "a:99999", "a:+1", "[::1", "::1", "[a]", "a/b", "a:1:2",
            "[::1]x", "é",
        ] {
            assert!(!is_authority(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn names_have_one_form() {
        for (authority, expected) in [("A.Example.:443", "a.example"), ("[::1]:80", "::1"), ("a", "a")] {
            let mut name = String::new();
            name_of(authority.as_bytes(), &mut name);
            assert_eq!(name, expected);
        }
    }

    #[test]
    fn a_path_is_read_as_a_server_reads_it() {
        for (target, expected) in [
            ("/a/b?c/../d", "/a/b"),
            ("/public/../admin", "/admin"),
            ("/public/%2e%2E/admin", "/admin"),
            ("/public/..%2fadmin", "/admin"),
            ("/%61dmin/", "/admin/"),
            ("//admin", "/admin"),
            ("/../..", "/"),
            ("/a/./b/", "/a/b/"),
            ("/%zz%", "/%zz%"),
            ("/a\\..\\b", "/b"),
            ("*", "*"),
        ] {
            assert_eq!(path_of(target), expected, "{target}");
        }
    }
}
