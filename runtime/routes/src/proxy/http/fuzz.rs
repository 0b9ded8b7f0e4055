//! Owns what fuzzing calls of HTTP/1: heads and chunks, without a connection.

use super::answer::Answer;
use super::body::{Next, Reader};
use super::head::{Search, read_answer, read_request};
use super::request::Request;
use super::target::{is_authority, path_of};

/// Reads the head of a request and of an answer, and what follows as chunks. Whether it is a request that is taken.
///
/// # Panics
/// Where something would be passed on that is not what was read.
#[must_use]
pub fn http_head(bytes: &[u8]) -> bool {
    let mut search = Search::default();
    let Ok(Some(length)) = search.find(bytes) else { return false };
    let (head, rest) = bytes.split_at(length);
    let mut answer = Answer::default();
    if read_answer(head, &mut answer, false).is_ok() {
        assert!((100..600).contains(&answer.status), "an answer has a status");
    }
    read_chunks(rest);
    let mut request = Request::default();
    let is_taken = read_request(head, &mut request, false).is_ok();
    if is_taken {
        let is_one_line = |text: &[u8]| !text.iter().any(|byte| matches!(byte, b'\n' | b'\r' | 0));
        assert!(is_authority(request.host.as_bytes()), "a host that is none was let through");
        assert!(
            is_one_line(request.target.as_bytes()) && !request.target.contains(' '),
            "a target has one line"
        );
        assert!(is_one_line(&request.upgrade), "an upgrade has one line");
        for (name, value) in request.fields.iter() {
            assert!(is_one_line(name) && is_one_line(value) && !name.contains(&b':'), "a field has one line");
        }
        let path = path_of(&request.target);
        assert!(!path.split('/').any(|segment| segment == ".."), "a route is not found by `..`");
    }
    is_taken
}

fn read_chunks(mut bytes: &[u8]) {
    let mut body = Reader::default();
    body.chunks();
    loop {
        let octets = match body.next(bytes) {
            Ok(Next::Skip(octets)) => octets,
            Ok(Next::Data(octets)) => {
                body.taken(octets);
                octets
            }
            _ => return,
        };
        bytes = &bytes[octets..];
    }
}
