//! Owns header fields: how they are kept, and which of them a proxy must not pass on.

/// Header fields in the form in which HTTP/1 has them, so that passing them on is one copy.
#[derive(Debug, Default)]
pub(super) struct Fields {
    text: Vec<u8>,
    marks: Vec<Mark>,
}

/// Where a field's name and value are in the text.
#[derive(Debug, Clone, Copy)]
struct Mark {
    start: usize,
    colon: usize,
    end: usize,
}

impl Fields {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.marks.clear();
    }

    /// Adds a field. Whoever calls has checked that neither part holds what would end a line.
    pub(super) fn push(&mut self, name: &[u8], value: &[u8]) {
        let start = self.text.len();
        self.text.extend_from_slice(name);
        let colon = self.text.len();
        self.text.extend_from_slice(b": ");
        self.text.extend_from_slice(value);
        let end = self.text.len();
        self.text.extend_from_slice(b"\r\n");
        self.marks.push(Mark { start, colon, end });
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.marks
            .iter()
            .map(|mark| (&self.text[mark.start..mark.colon], &self.text[mark.colon + 2..mark.end]))
    }

    /// Every name, with where its value is in [`Fields::wire`].
    pub(super) fn ranges(&self) -> impl Iterator<Item = (&[u8], std::ops::Range<usize>)> {
        self.marks.iter().map(|mark| (&self.text[mark.start..mark.colon], mark.colon + 2..mark.end))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.iter().any(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()))
    }

    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Every field as HTTP/1 writes them, each with the end of its line.
    pub(super) fn wire(&self) -> &[u8] {
        &self.text
    }
}

/// What a field is to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Connection,
    Host,
    ContentLength,
    TransferEncoding,
    Expect,
    Upgrade,
    Te,
    /// Between two neighbours only: never passed on.
    Hop,
    ForwardedFor,
    /// Says where a request comes from; believed of trusted neighbours only.
    Forwarded,
    RequestId,
    Cookie,
    /// A name that some servers take for one of those above (`content_length`): never passed on.
    Alias,
    Other,
}

const LONGEST: usize = 32;

/// What the field `name` is.
pub(super) fn kind(name: &[u8]) -> Kind {
    let mut plain = [0; LONGEST];
    let length = name.len().min(LONGEST);
    let mut is_alias = false;
    for (to, from) in plain.iter_mut().zip(name) {
        is_alias |= *from == b'_';
        *to = if *from == b'_' { b'-' } else { from.to_ascii_lowercase() };
    }
    let kind = known(&plain[..length], name.len());
    if is_alias && !matches!(kind, Kind::Other | Kind::Cookie) { Kind::Alias } else { kind }
}

fn known(name: &[u8], length: usize) -> Kind {
    if name.starts_with(b"x-forwarded-") {
        return if name == b"x-forwarded-for" { Kind::ForwardedFor } else { Kind::Forwarded };
    }
    if name.starts_with(b"proxy-") {
        return Kind::Hop;
    }
    if length > LONGEST {
        return Kind::Other;
    }
    match name {
        b"connection" => Kind::Connection,
        b"host" => Kind::Host,
        b"content-length" => Kind::ContentLength,
        b"transfer-encoding" => Kind::TransferEncoding,
        b"expect" => Kind::Expect,
        b"upgrade" => Kind::Upgrade,
        b"te" => Kind::Te,
        b"keep-alive" | b"trailer" | b"http2-settings" => Kind::Hop,
        b"forwarded" | b"x-real-ip" => Kind::Forwarded,
        b"x-request-id" => Kind::RequestId,
        b"cookie" => Kind::Cookie,
        _ => Kind::Other,
    }
}

/// Whether the list `values` (`close, x-secret`) has `token`.
pub(super) fn lists(values: &[u8], token: &[u8]) -> bool {
    tokens(values).any(|other| other.eq_ignore_ascii_case(token))
}

/// The members of a list.
pub(super) fn tokens(values: &[u8]) -> impl Iterator<Item = &[u8]> {
    values.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// Whether a trailer field may be passed on: none that frames, routes, authorises or says who asks (RFC 9110, section 6.5.1).
pub(super) fn may_trail(name: &[u8]) -> bool {
    let is_other = matches!(kind(name), Kind::Other | Kind::RequestId);
    let refused: [&[u8]; 10] = [
        b"authorization",
        b"set-cookie",
        b"content-encoding",
        b"content-type",
        b"content-range",
        b"cache-control",
        b"max-forwards",
        b"range",
        b"www-authenticate",
        b"location",
    ];
    is_other && !refused.iter().any(|other| name.eq_ignore_ascii_case(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_kept_as_they_are_written() {
        let mut fields = Fields::default();
        fields.push(b"A", b"1");
        fields.push(b"b", b"");
        assert_eq!(fields.wire(), b"A: 1\r\nb: \r\n");
        assert_eq!(fields.iter().collect::<Vec<_>>(), [(&b"A"[..], &b"1"[..]), (b"b", b"")]);
        assert!(fields.has("a") && fields.get("B") == Some(b"") && !fields.has("c"));
    }

    #[test]
    fn names_are_told_apart_in_any_case_and_with_underscores() {
        assert_eq!(kind(b"Content-LENGTH"), Kind::ContentLength);
        assert_eq!(kind(b"content_length"), Kind::Alias);
        assert_eq!(kind(b"X_Forwarded_For"), Kind::Alias);
        assert_eq!(kind(b"x-forwarded-anything-that-is-rather-long"), Kind::Forwarded);
        assert_eq!(kind(b"Proxy-Connection"), Kind::Hop);
        assert_eq!(kind(b"my_header"), Kind::Other);
        assert_eq!(kind(b"content-length-but-much-longer-than-it"), Kind::Other);
    }

    #[test]
    fn what_frames_or_authorises_does_not_trail() {
        assert!(may_trail(b"grpc-status") && may_trail(b"x-checksum"));
        for name in [
            "Content-Length",
            "transfer-encoding",
            "host",
            "authorization",
            "cookie",
            "te",
            "x-forwarded-for",
        ] {
            assert!(!may_trail(name.as_bytes()), "{name}");
        }
    }
}
