//! The two sides are of different versions: whoever is to be brought up to date is named, and nothing is done by half.

use api::v1;
use api::v1::routes_server::{Routes, RoutesServer};
use async_trait::async_trait;
use bytes::Bytes;
use effect::Code;
use http_body_util::{BodyExt as _, Full};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use routes::Driver as _;
use serde_json::json;
use tokio::net::UnixListener;
use tonic::{Request, Response, Status};

use crate::stage::{over_socket, route};

/// A mcrun of another version.
#[derive(Clone, Copy)]
struct Other {
    version: &'static str,
    /// Whether it knows everything that this one knows.
    is_whole: bool,
}

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl Routes for Other {
    type WatchStream = futures_util::stream::Empty<Result<v1::WatchResponse, Status>>;

    async fn get_version(&self, _: Request<v1::GetVersionRequest>) -> Answer<v1::GetVersionResponse> {
        let features = if self.is_whole { (1..=21).collect() } else { vec![2, 3, 10, 999] };
        let version = self.version.into();
        Ok(Response::new(v1::GetVersionResponse { version, features, ..Default::default() }))
    }

    async fn check_route(&self, request: Request<v1::CheckRouteRequest>) -> Answer<v1::CheckRouteResponse> {
        let mut standing = request.into_inner().standing;
        // It has never heard of retries.
        standing.as_mut().unwrap().route.as_mut().unwrap().retries = None;
        Ok(Response::new(v1::CheckRouteResponse { standing }))
    }

    async fn add_route(&self, _: Request<v1::AddRouteRequest>) -> Answer<v1::AddRouteResponse> {
        panic!("what is understood in part is not begun")
    }

    async fn remove_route(&self, _: Request<v1::RemoveRouteRequest>) -> Answer<v1::RemoveRouteResponse> {
        Err(Status::unimplemented(""))
    }

    async fn list_routes(&self, _: Request<v1::ListRoutesRequest>) -> Answer<v1::ListRoutesResponse> {
        let key = v1::Key { listen: 443, hostname: "a.example".into(), path: String::new() };
        let route = v1::Route { key: Some(key), mode: 7, ..Default::default() };
        let routes = vec![v1::Standing { route: Some(route), paused: false }];
        Ok(Response::new(v1::ListRoutesResponse { routes, next: String::new() }))
    }

    async fn get_route(&self, _: Request<v1::GetRouteRequest>) -> Answer<v1::GetRouteResponse> {
        Err(Status::unimplemented(""))
    }

    async fn set_paused(&self, _: Request<v1::SetPausedRequest>) -> Answer<v1::SetPausedResponse> {
        Err(Status::unimplemented(""))
    }

    async fn drain(&self, _: Request<v1::DrainRequest>) -> Answer<v1::DrainResponse> {
        Err(Status::unimplemented(""))
    }

    async fn get_figures(&self, request: Request<v1::GetFiguresRequest>) -> Answer<v1::GetFiguresResponse> {
        // A list that never ends.
        let next = format!("{}x", request.get_ref().after);
        Ok(Response::new(v1::GetFiguresResponse {
            figures: Vec::new(),
            next: next.chars().take(9).collect(),
        }))
    }

    async fn watch(&self, _: Request<v1::WatchRequest>) -> Answer<Self::WatchStream> {
        Ok(Response::new(futures_util::stream::empty()))
    }
}

/// A driver whose other side is `other`.
fn drive(other: Other) -> (tempfile::TempDir, routes::remote::Client) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| async move {
                let (head, body) = request.into_parts();
                let body = Full::<Bytes>::new(body.collect().await.unwrap().to_bytes());
                use tonic::codegen::Service as _;
                RoutesServer::new(other).call(http::Request::from_parts(head, body)).await
            });
            let stream = TokioIo::new(stream);
            tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service));
        }
    });
    let client = over_socket(&path);
    (folder, client)
}

#[tokio::test]
async fn a_newer_side_that_says_more_is_told_as_newer() {
    let (_folder, client) = drive(Other { version: "99.0.0", is_whole: true });
    let error = client.list().await.unwrap_err();
    assert_eq!(error.code, Code::ProxyAnswer);
    assert!(error.message.contains("7 for `mode`"), "{error}");
    assert!(error.cause.unwrap().contains("is mcrun 99.0.0; this is mcrun"));
    assert!(error.hint.unwrap().starts_with("this side is the older one"));
}

#[tokio::test]
async fn an_older_side_that_understands_a_part_is_found_before_anything_is_done() {
    let (_folder, client) = drive(Other { version: "0.0.1", is_whole: true });
    let error = client.put(&route("mcq.metacircular.net", json!({ "retries": 5 }))).await.unwrap_err();
    assert_eq!(error.code, Code::ProxyAnswer);
    assert!(error.message.contains("takes only a part"), "{error}");
    assert!(error.hint.unwrap().starts_with("the other side is the older one"));
}

#[tokio::test]
async fn what_the_other_side_lacks_is_refused_without_asking_for_it() {
    let (_folder, client) = drive(Other { version: "0.0.1", is_whole: false });
    let wanted = route("mcq.metacircular.net", json!({ "maintenance": { "text": "x" }, "backends": [] }));
    let error = client.admit(&wanted).await.unwrap_err();
    assert_eq!(error.code, Code::Unsupported);
    assert!(error.message.contains("maintenance pages"), "{error}");
    let auto = client.admit(&route("mcq.metacircular.net", json!({ "cert": "auto" }))).await.unwrap_err();
    assert!(auto.message.contains("`auto`"), "{auto}");
}

#[tokio::test]
async fn a_call_that_is_not_known_there_names_the_older_side() {
    let (_folder, client) = drive(Other { version: "0.0.1", is_whole: true });
    let error = client.get(&"mcq.metacircular.net:443".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.code, Code::ProxyAnswer);
    assert!(error.message.contains("does not know the call"), "{error}");
    assert!(error.hint.unwrap().starts_with("the other side is the older one"));
}

#[tokio::test]
async fn a_list_without_an_end_is_not_followed_for_ever() {
    let (_folder, client) = drive(Other { version: "0.0.1", is_whole: true });
    let error = client.figures().await.unwrap_err();
    assert_eq!(error.code, Code::ProxyAnswer);
    assert!(error.message.contains("without an end"), "{error}");
}
