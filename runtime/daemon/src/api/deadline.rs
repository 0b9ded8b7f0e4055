//! Owns how long a caller waits: a call that takes longer is given up, and a stream ends. Owns how a stream ends before its
//! own end, too.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use effect::{Code, Error, Result};
use http::HeaderMap;
use hyper::body::Frame;
use tokio::task::JoinSet;
use tonic::body::Body;

use super::status;

/// It took longer than the caller waits.
pub(super) fn late(call: &str, patience: Duration) -> Error {
    let call = call.rsplit('/').next().unwrap_or_default();
    Error::new(Code::TimedOut, format!("`{call}` was not answered within the caller's {patience:?}"))
        .retryable()
}

/// How long the caller waits, as `grpc-timeout` says it: at most eight digits and a unit.
pub(super) fn of(headers: &HeaderMap) -> Result<Option<Duration>> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let wrong = || {
        Error::new(Code::ApiRequest, "`grpc-timeout`: it is up to eight digits and one of H, M, S, m, u, n")
    };
    let text = value.to_str().map_err(|_| wrong())?;
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    let patience = match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return Err(wrong()),
    };
    Ok(Some(patience))
}

/// An answer that ends when the caller's time is over, or when there is another reason to.
pub(super) struct Until {
    body: Body,
    /// Gives the error with which it ends. It goes on whether or not anybody takes what is told, and ends with the answer.
    end: JoinSet<Error>,
    is_over: bool,
}

impl Until {
    /// One that ends after `patience`.
    pub(super) fn late(body: Body, patience: Duration) -> Self {
        Self::new(body, async move {
            tokio::time::sleep(patience).await;
            late("the call", patience)
        })
    }

    /// One that ends with what comes of `end`.
    pub(super) fn new(body: Body, end: impl Future<Output = Error> + Send + 'static) -> Self {
        let mut ending = JoinSet::new();
        ending.spawn(end);
        Self { body, end: ending, is_over: false }
    }
}

impl hyper::body::Body for Until {
    type Data = bytes::Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(Some(end)) = self.end.poll_join_next(context) {
            self.is_over = true;
            let broken = |error| Error::new(Code::Internal, "a task broke").because(error);
            let error = end.unwrap_or_else(broken);
            let mut trailers = HeaderMap::new();
            let added = status::of(&error).add_header(&mut trailers);
            return Poll::Ready(added.ok().map(|()| Ok(Frame::trailers(trailers))));
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_read_or_refused() {
        let read = |text: &'static str| {
            let headers =
                [(http::HeaderName::from_static("grpc-timeout"), http::HeaderValue::from_static(text))];
            of(&headers.into_iter().collect())
        };
        assert_eq!(read("250m").unwrap(), Some(Duration::from_millis(250)));
        assert_eq!(read("99999999H").unwrap(), Some(Duration::from_secs(99_999_999 * 3600)));
        for none in ["", "S", "1", "-1S", "123456789S", "1x", "1.5S"] {
            assert_eq!(read(none).unwrap_err().code, Code::ApiRequest, "{none}");
        }
    }
}
