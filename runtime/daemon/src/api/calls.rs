//! Owns the services behind the sockets, and which of them answers a call.

mod approvals;
mod daemon;
mod documents;
mod events;
mod identity;
mod playbooks;
mod runs;
mod services;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use api::v1;
use api::v1::approvals_server::ApprovalsServer;
use api::v1::daemon_server::DaemonServer;
use api::v1::documents_server::DocumentsServer;
use api::v1::events_server::EventsServer;
use api::v1::identity_server::IdentityServer;
use api::v1::playbooks_server::PlaybooksServer;
use api::v1::runs_server::RunsServer;
use api::v1::services_server::ServicesServer;
use effect::{Code, Error, Result};
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use super::gate::Granted;
use super::recheck::Live;
use super::{Api, status};
use crate::runs::{By, Cause};

/// A message of a caller, decoded; its octets were counted before.
const LARGEST_MESSAGE: usize = 8 << 20;
/// An answer: a page.
const LARGEST_ANSWER: usize = 16 << 20;

pub(super) type Answer<T> = Result<tonic::Response<T>, Status>;
/// An answer that goes on.
pub(super) type Stream<T> = Pin<Box<dyn futures_util::Stream<Item = Result<T, Status>> + Send>>;

type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
type Serve = Arc<dyn Fn(Request<Body>) -> Answering + Send + Sync>;

/// Every service, by its name; cheap to copy.
#[derive(Clone)]
pub(super) struct Services(Arc<[(&'static str, Serve)]>);

/// A service of ours, with bounds.
macro_rules! bounded {
    ($server:ident, $api:expr) => {
        serve(
            $server::new($api.clone())
                .max_decoding_message_size(LARGEST_MESSAGE)
                .max_encoding_message_size(LARGEST_ANSWER),
        )
    };
}

impl Services {
    pub(super) fn new(api: &Api) -> Self {
        let health = HealthServer::new(HealthService::from_health_reporter(HealthReporter::new()));
        let described = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(api::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let names = [
            "mcrun.v1.Approvals",
            "mcrun.v1.Daemon",
            "mcrun.v1.Documents",
            "mcrun.v1.Events",
            "mcrun.v1.Identity",
            "mcrun.v1.Playbooks",
            "mcrun.v1.Runs",
            "mcrun.v1.Services",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        ];
        let described = || names.iter().fold(described(), |builder, name| builder.with_service_name(*name));
        let valid = "the descriptors were compiled from proto/";
        Self(Arc::new([
            bounded!(ApprovalsServer, api),
            bounded!(DaemonServer, api),
            bounded!(DocumentsServer, api),
            bounded!(EventsServer, api),
            bounded!(IdentityServer, api),
            bounded!(PlaybooksServer, api),
            bounded!(RunsServer, api),
            bounded!(ServicesServer, api),
            serve(health),
            serve(described().build_v1().expect(valid)),
            serve(described().build_v1alpha().expect(valid)),
        ]))
    }

    pub(super) async fn call(&self, request: Request<Body>) -> Response<Body> {
        let name = request.uri().path().split('/').nth(1).unwrap_or_default();
        match self.0.iter().find(|(known, _)| *known == name) {
            Some((_, serve)) => serve(request).await,
            None => Status::unimplemented("no such service").into_http(),
        }
    }
}

fn serve<S>(service: S) -> (&'static str, Serve)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = std::convert::Infallible>
        + NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    let answer = move |request: Request<Body>| -> Answering {
        let mut service = service.clone();
        Box::pin(async move {
            match service.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        })
    };
    (S::NAME, Arc::new(answer))
}

/// What a call comes to.
pub(super) fn answer<T>(result: Result<T>) -> Answer<T> {
    result.map(tonic::Response::new).map_err(|error| status::of(&error))
}

/// Who makes this call.
pub(super) fn caller<T>(request: &tonic::Request<T>) -> String {
    let granted = request.extensions().get::<Granted>();
    granted.map_or_else(|| "somebody".to_owned(), |granted| granted.principal.to_string())
}

/// With what this call was let through.
pub(super) fn granted<T>(request: &tonic::Request<T>) -> Result<&Granted> {
    let granted = request.extensions().get::<Granted>();
    granted.ok_or_else(|| Error::new(Code::ApiUser, "nobody has said who makes this call"))
}

/// What this call may see as long as it goes on.
pub(super) fn live<T>(request: &tonic::Request<T>) -> Result<Live> {
    let live = request.extensions().get::<Live>().cloned();
    live.ok_or_else(|| Error::new(Code::ApiUser, "nobody has said who follows this"))
}

/// What runs that come of this call may do at most.
pub(super) fn within<T>(request: &tonic::Request<T>) -> Option<Vec<String>> {
    request.extensions().get::<Granted>().and_then(|granted| granted.within.clone())
}

/// Why a run is begun by this call.
pub(super) fn cause<T>(request: &tonic::Request<T>) -> Cause {
    let by = By::Caller { caller: caller(request) };
    Cause { by, event: serde_json::Value::Null, within: within(request) }
}

pub(super) fn failure(error: &Error) -> v1::Failure {
    peer::calls::failure_of(error)
}

/// What a daemon without the room for it says.
pub(super) fn lacks<'a, T>(room: Option<&'a T>, what: &str) -> Result<&'a T>
where
    T: ?Sized,
{
    room.ok_or_else(|| Error::new(Code::Unsupported, format!("this daemon {what}")))
}
