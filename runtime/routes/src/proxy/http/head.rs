//! Owns heads of HTTP/1 requests and answers: what is refused of them because two readers might see two messages.

use httparse::Status;

use super::answer::Answer;
use super::fields::{Kind, kind, lists, tokens};
use super::request::{Length, Refused, Request, method, refused};
use super::target::{is_authority, is_path, name_of};

/// More fields than that are refused.
const MOST_FIELDS: usize = 128;

/// Finds the end of a head in bytes that come in pieces, looking at each byte once.
#[derive(Debug, Default)]
pub(super) struct Search {
    seen: usize,
}

impl Search {
    /// The length of the head at the beginning of `bytes`, once it is whole.
    ///
    /// # Errors
    /// 400 where a line does not end in CR LF, which readers disagree about.
    pub(super) fn find(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refused> {
        for at in memchr::memchr_iter(b'\n', &bytes[self.seen..]) {
            let at = self.seen + at;
            if at == 0 || bytes[at - 1] != b'\r' {
                return refused(400, "a line does not end in CR LF");
            }
            if at == 1 || (at >= 3 && bytes[at - 2] == b'\n') {
                self.seen = 0;
                return Ok(Some(at + 1));
            }
        }
        self.seen = bytes.len();
        Ok(None)
    }
}

/// Reads the head of a request, whole with its empty line, into `request`.
///
/// # Errors
/// 400 for what is no request or might be two, 405 and 501 for methods, 417 for expectations, 431 for too many fields.
pub(super) fn read_request(head: &[u8], request: &mut Request, is_trusted: bool) -> Result<(), Refused> {
    request.clear();
    let mut space = [const { std::mem::MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, &mut space) {
        Ok(Status::Complete(length)) if length == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return refused(431, "too many header fields"),
        _ => return refused(400, "this is no request"),
    }
    // httparse passes over empty lines before a request: behind another one, they are the rest of its body.
    if !head[0].is_ascii_uppercase() {
        return refused(400, "this is no request");
    }
    let (name, target) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
    request.method = method(name)?;
    request.is_old = parsed.version == Some(0);
    let framing = read_framing(head, parsed.headers)?;
    let Some(host) = framing.host else { return refused(400, "it takes one host") };
    if !is_authority(host) {
        return refused(400, "the host is no name");
    }
    request.host.extend(host.iter().map(|byte| char::from(*byte)));
    name_of(host, &mut request.name);
    read_target(target, request)?;
    request.length = framing.length(request.is_old)?;
    request.expects = framing.expects;
    request.trailers = framing.trailers;
    request.keeps = if request.is_old { framing.keeps } else { !framing.closes };
    if let Some(upgrade) = framing.upgrade
        && framing.upgrades
        && !request.is_old
        && matches!(request.length, Length::None | Length::Exact(0))
        && !tokens(upgrade).any(|token| token.len() >= 2 && token[..2].eq_ignore_ascii_case(b"h2"))
    {
        request.upgrade.extend_from_slice(upgrade);
    }
    for field in parsed.headers.iter() {
        if !framing.has_nominated || !is_nominated(parsed.headers, field.name) {
            request.take(field.name.as_bytes(), field.value, is_trusted);
        }
    }
    Ok(())
}

fn read_target(target: &str, request: &mut Request) -> Result<(), Refused> {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if !target.starts_with('/') => {
            let is_http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            if !is_http || !authority.eq_ignore_ascii_case(&request.host) {
                return refused(400, "target and host differ");
            }
            if !path.starts_with('/') {
                request.target.push('/');
            }
            path
        }
        _ => target,
    };
    let is_asterisk = path == "*" && request.method == http::Method::OPTIONS;
    request.target.push_str(path);
    if !is_asterisk && !is_path(request.target.as_bytes()) {
        return refused(400, "the target is no path");
    }
    Ok(())
}

/// What the fields of a head say of the message itself.
#[derive(Debug, Default)]
struct Framing<'a> {
    host: Option<&'a [u8]>,
    octets: Option<u64>,
    is_chunked: bool,
    expects: bool,
    trailers: bool,
    upgrade: Option<&'a [u8]>,
    upgrades: bool,
    closes: bool,
    keeps: bool,
    has_nominated: bool,
}

impl Framing<'_> {
    fn length(&self, is_old: bool) -> Result<Length, Refused> {
        match (self.is_chunked, self.octets) {
            (true, Some(_)) => refused(400, "two lengths of one body"),
            (true, None) if is_old => refused(400, "HTTP/1.0 has no chunks"),
            (true, None) => Ok(Length::Unknown),
            (false, Some(octets)) => Ok(Length::Exact(octets)),
            (false, None) => Ok(Length::None),
        }
    }
}

fn read_framing<'a>(head: &[u8], fields: &[httparse::Header<'a>]) -> Result<Framing<'a>, Refused> {
    let mut framing = Framing::default();
    for field in fields {
        let value = field.value;
        match kind(field.name.as_bytes()) {
            Kind::Host if framing.host.is_some() => return refused(400, "it takes one host"),
            Kind::Host => framing.host = Some(value),
            Kind::ContentLength => {
                let Some(octets) = read_length(value) else { return refused(400, "the length is no number") };
                if !is_bare(head, field) || framing.octets.replace(octets).is_some() {
                    return refused(400, "the length of the body is not clear");
                }
            }
            Kind::TransferEncoding => {
                let is_chunked = value.eq_ignore_ascii_case(b"chunked") && is_bare(head, field);
                if !is_chunked || framing.is_chunked {
                    return refused(400, "this transfer encoding is not taken");
                }
                framing.is_chunked = true;
            }
            Kind::Expect => {
                if !value.eq_ignore_ascii_case(b"100-continue") || framing.expects {
                    return refused(417, "this expectation cannot be met");
                }
                framing.expects = true;
            }
            Kind::Te => framing.trailers |= lists(value, b"trailers"),
            Kind::Upgrade if framing.upgrade.is_some() => return refused(400, "two upgrades"),
            Kind::Upgrade => framing.upgrade = Some(value),
            Kind::Connection => read_connection(value, &mut framing)?,
            _ => {}
        }
    }
    Ok(framing)
}

fn read_connection(value: &[u8], framing: &mut Framing<'_>) -> Result<(), Refused> {
    for token in tokens(value) {
        match kind(token) {
            Kind::Host | Kind::ContentLength | Kind::TransferEncoding => {
                return refused(400, "a field that every reader takes was nominated");
            }
            Kind::Upgrade => framing.upgrades = true,
            _ if token.eq_ignore_ascii_case(b"close") => framing.closes = true,
            _ if token.eq_ignore_ascii_case(b"keep-alive") => framing.keeps = true,
            _ => framing.has_nominated = true,
        }
    }
    Ok(())
}

/// Whether `connection` names the field: then it is for the next neighbour only.
fn is_nominated(fields: &[httparse::Header<'_>], name: &str) -> bool {
    let mut lines = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("connection"));
    lines.any(|field| lists(field.value, name.as_bytes()))
}

fn read_length(value: &[u8]) -> Option<u64> {
    let is_number = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    is_number.then(|| str::from_utf8(value).ok()?.parse().ok()).flatten()
}

/// Whether nothing but spaces is around the value: what else counts as nothing differs between readers.
fn is_bare(head: &[u8], field: &httparse::Header<'_>) -> bool {
    let offset = |part: &[u8]| part.as_ptr() as usize - head.as_ptr() as usize;
    let before = offset(field.name.as_bytes()) + field.name.len();
    let start = offset(field.value);
    let gap = head.get(before + 1..start).unwrap_or(b"\t");
    gap.iter().all(|byte| *byte == b' ') && head.get(start + field.value.len()) == Some(&b'\r')
}

/// Reads the head of an answer, whole with its empty line, into `answer`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read_answer(head: &[u8], answer: &mut Answer, is_to_head: bool) -> Result<(), &'static str> {
    answer.clear();
    let mut space = [const { std::mem::MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, head, &mut space) {
        Ok(Status::Complete(length)) if length == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err("too many header fields"),
        _ => return Err("this is no answer"),
    }
    let status = parsed.code.unwrap_or_default();
    if !head.starts_with(b"HTTP/") || !(100..=599).contains(&status) {
        return Err("this is no answer");
    }
    let framing = read_framing(head, parsed.headers).map_err(|refused| refused.why)?;
    let is_old = parsed.version == Some(0);
    answer.status = status;
    answer.reason.extend_from_slice(parsed.reason.unwrap_or_default().as_bytes());
    answer.frame(framing.is_chunked, framing.octets, is_to_head)?;
    if is_old && framing.is_chunked {
        return Err("HTTP/1.0 has no chunks");
    }
    answer.keeps = !is_old && !framing.closes && answer.ends_itself();
    if let Some(upgrade) = framing.upgrade.filter(|_| framing.upgrades) {
        answer.upgrade.extend_from_slice(upgrade);
    }
    for field in parsed.headers.iter() {
        if !framing.has_nominated || !is_nominated(parsed.headers, field.name) {
            answer.take(field.name.as_bytes(), field.value);
        }
    }
    Ok(())
}
