//! Owns the built-in answer to http-01: a listener that is there only while an order is open, and knows nothing but the
//! tokens of open orders.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use effect::Result;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::door::Door;
use super::{Challenge, ChallengeKind, Responder};

const FOLDER: &str = "/.well-known/acme-challenge/";
const LONGEST_HEAD: Duration = Duration::from_secs(5);
/// Validators send a handful of short headers; hyper's smallest buffer holds them.
const LARGEST_HEAD: usize = 8192;

/// Tokens with what is found at them, and by how many orders each is offered: orders may share a pending authorization.
type Tokens = Arc<Mutex<HashMap<String, (String, usize)>>>;

/// Answers http-01.
pub(super) struct Http {
    tokens: Tokens,
    door: Door,
}

impl Http {
    pub(super) fn new(address: SocketAddr) -> Self {
        let tokens = Tokens::default();
        let known = tokens.clone();
        let serve = move |stream| -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(visit(stream, known.clone()))
        };
        Self { tokens, door: Door::new(ChallengeKind::Http, address, Arc::new(serve)) }
    }
}

#[async_trait]
impl Responder for Http {
    fn kind(&self) -> ChallengeKind {
        ChallengeKind::Http
    }

    async fn present(&self, challenge: &Challenge) -> Result<()> {
        self.door.enter().await?;
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens
            .entry(challenge.token.clone())
            .or_insert_with(|| (challenge.key_authorization.clone(), 0))
            .1 += 1;
        Ok(())
    }

    async fn withdraw(&self, challenge: &Challenge) -> Result<()> {
        let was_offered = {
            let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            let offers = tokens.get_mut(&challenge.token).map(|(_, offers)| {
                *offers -= 1;
                *offers
            });
            if offers == Some(0) {
                tokens.remove(&challenge.token);
            }
            offers.is_some()
        };
        if was_offered {
            self.door.leave().await;
        }
        Ok(())
    }
}

async fn visit(stream: TcpStream, tokens: Tokens) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&request, &tokens);
        async move { Ok::<_, Infallible>(answer) }
    });
    // What goes wrong with one visitor is that visitor's matter: the authority says whether the proof was found.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(LONGEST_HEAD)
        .max_buf_size(LARGEST_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn answer(request: &Request<Incoming>, tokens: &Tokens) -> Response<Full<Bytes>> {
    let token = request.uri().path().strip_prefix(FOLDER).filter(|_| request.method() == Method::GET);
    let tokens = tokens.lock().unwrap_or_else(PoisonError::into_inner);
    let found = token.and_then(|token| tokens.get(token)).map(|(authorization, _)| authorization.clone());
    let mut answer = Response::new(Full::default());
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    match found {
        Some(authorization) => {
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            *answer.body_mut() = Full::from(authorization);
        }
        None => *answer.status_mut() = StatusCode::NOT_FOUND,
    }
    answer
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn asked(address: SocketAddr, question: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("{question} HTTP/1.1\r\nHost: a.test\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn only_tokens_of_open_orders_are_known() {
        let address = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        let http = Http::new(address);
        let challenge = Challenge {
            kind: ChallengeKind::Http,
            name: "a.test".parse().unwrap(),
            token: "token".into(),
            key_authorization: "token.thumb".into(),
        };
        assert!(asked(address, "GET /").await.is_err(), "nobody listens before");
        // Two orders share the proof.
        http.present(&challenge).await.unwrap();
        http.present(&challenge).await.unwrap();
        let silent = TcpStream::connect(address).await.unwrap();
        let found = asked(address, "GET /.well-known/acme-challenge/token").await.unwrap();
        assert!(found.starts_with("HTTP/1.1 200 ") && found.ends_with("\r\n\r\ntoken.thumb"), "{found}");
        for other in [
            "GET /",
            "GET /.well-known/acme-challenge/",
            "GET /.well-known/acme-challenge/other",
            "GET /.well-known/acme-challenge/token/../token",
            "POST /.well-known/acme-challenge/token",
        ] {
            assert!(asked(address, other).await.unwrap().starts_with("HTTP/1.1 404 "), "{other}");
        }
        http.withdraw(&challenge).await.unwrap();
        assert!(asked(address, "GET /.well-known/acme-challenge/token").await.unwrap().contains(" 200 "));
        http.withdraw(&challenge).await.unwrap();
        http.withdraw(&challenge).await.unwrap();
        assert!(asked(address, "GET /").await.is_err(), "nobody listens after");
        drop(silent);
    }
}
