//! Two versions that do not understand one another: the older side is named.

use api::v1;
use api::v1::daemon_server::{Daemon, DaemonServer};
use async_trait::async_trait;
use bytes::Bytes;
use daemon::api::client::Client;
use effect::{Code, Error};
use http_body_util::{BodyExt as _, Full};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixListener;
use tonic::{Request, Response, Status};

use crate::stage::Stage;

async fn shake(stage: &Stage, version: &str, protocol: u32) -> Result<v1::HandshakeResponse, Error> {
    let client = stage.client().await;
    let mut calls = client.daemon();
    let message = v1::HandshakeRequest { version: version.into(), protocol };
    client.call(calls.handshake(Request::new(message))).await
}

#[tokio::test]
async fn a_daemon_names_the_older_side() {
    let stage = Stage::open().await;
    let there = shake(&stage, "0.1.0", api::PROTOCOL).await.unwrap();
    assert_eq!((there.protocol, there.process), (api::PROTOCOL, std::process::id()));
    let newer = shake(&stage, "99.0.0", api::PROTOCOL + 1).await.unwrap_err();
    assert_eq!(newer.code, Code::ApiVersion);
    assert!(newer.message.contains("the daemon is the older side"), "{newer:?}");
    assert!(newer.cause.unwrap().contains("mcrun 99.0.0"));
    let none = shake(&stage, "0.1.0", 0).await.unwrap_err();
    assert_eq!(none.code, Code::ApiRequest);
    assert!(none.message.starts_with("`protocol`"));
}

/// A daemon of another version; of one before the handshake where it has no protocol.
#[derive(Clone, Copy)]
struct Other(Option<u32>);

#[async_trait]
impl Daemon for Other {
    async fn handshake(
        &self,
        _: Request<v1::HandshakeRequest>,
    ) -> Result<Response<v1::HandshakeResponse>, Status> {
        let protocol = self.0.ok_or_else(|| Status::unimplemented("no such call"))?;
        Ok(Response::new(v1::HandshakeResponse { version: "7.0.0".into(), protocol, ..Default::default() }))
    }

    async fn reload(&self, _: Request<v1::ReloadRequest>) -> Result<Response<v1::ReloadResponse>, Status> {
        Err(Status::unimplemented("no such call"))
    }
}

async fn meet(other: Other) -> Result<Client, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| async move {
                use tonic::codegen::Service as _;
                let (head, body) = request.into_parts();
                let body = Full::<Bytes>::new(body.collect().await.unwrap().to_bytes());
                DaemonServer::new(other).call(http::Request::from_parts(head, body)).await
            });
            let stream = TokioIo::new(stream);
            tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service));
        }
    });
    Client::connect(&path).await
}

#[tokio::test]
async fn a_command_line_names_the_older_side() {
    let newer = meet(Other(Some(api::PROTOCOL + 1))).await.unwrap_err();
    assert_eq!(newer.code, Code::ApiVersion);
    assert!(newer.message.contains("the command line is the older side"), "{newer:?}");
    assert!(newer.cause.unwrap().contains("mcrun 7.0.0 with protocol"));
    let older = meet(Other(Some(0))).await.unwrap_err();
    assert!(older.message.contains("the daemon is the older side"), "{older:?}");
    let ancient = meet(Other(None)).await.unwrap_err();
    assert_eq!(ancient.code, Code::ApiVersion);
    assert!(ancient.message.contains("does not know the call"), "{ancient:?}");
    let same = meet(Other(Some(api::PROTOCOL))).await.unwrap();
    // What it does not know yet is told as such.
    let mut calls = same.daemon();
    let error = same.call(calls.reload(Request::new(v1::ReloadRequest {}))).await.unwrap_err();
    assert_eq!(error.code, Code::ApiVersion);
}
