//! Owns the client of the daemon's socket, which the command line uses: who is at the other end, calls with our own errors,
//! and what happens in a run as it is told.

mod errors;
mod told;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use api::v1::approvals_client::ApprovalsClient;
use api::v1::daemon_client::DaemonClient;
use api::v1::documents_client::DocumentsClient;
use api::v1::events_client::EventsClient;
use api::v1::playbooks_client::PlaybooksClient;
use api::v1::runs_client::RunsClient;
use api::v1::services_client::ServicesClient;
use api::{PROTOCOL, v1};
use effect::{Code, Error, Result};
use journal::RunId;
use peer::calls::{Codes, OURS, Way, told as words};
use serde_json::Value;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use self::errors::{broken, garbage, unavailable, unreached};
pub use self::told::{Events, Heard, Watch};
use crate::runs::Wish;
use crate::socket;

/// For a connection with its handshake, and for the answer of a call that does no work of its own.
const PATIENCE: Duration = Duration::from_secs(10);
/// For the answer of a call that records a run or ends one.
const WORK: Duration = Duration::from_secs(120);
/// An answer, in octets.
const LARGEST: usize = 16 << 20;

const CODES: Codes = Codes {
    unavailable: Code::ApiUnavailable,
    answer: Code::ApiStranger,
    refused: Code::ApiUser,
    version: Code::ApiVersion,
};

/// A connection to a daemon; cheap to copy.
#[derive(Debug, Clone)]
pub struct Client {
    way: Way,
    /// How errors name the other end.
    place: String,
    there: v1::HandshakeResponse,
}

/// The services of the API over one connection, for calls that the client has no word of its own for.
macro_rules! service {
    ($(#[doc = $doc:literal])* $name:ident $client:ident) => {
        $(#[doc = $doc])*
        #[must_use]
        pub fn $name(&self) -> $client<Way> {
            $client::with_origin(self.way.clone(), http::Uri::from_static("http://mcrun"))
                .max_decoding_message_size(LARGEST)
        }
    };
}

impl Client {
    /// Connects to the daemon at the socket `path`, and learns who it is.
    ///
    /// # Errors
    /// `MC-V001` where nobody answers, `MC-V002` where it is not mcrun, `MC-V003` where the user may not use the socket, and
    /// `MC-V006` where the two are of versions that do not understand one another.
    pub async fn connect(path: &Path) -> Result<Self> {
        let place = path.display().to_string();
        let opening = async {
            let stream = socket::connect(path).await.map_err(|error| unreached(path, &error))?;
            let way = Way::over(stream, None).await.map_err(|why| broken(&place, why))?;
            let there = v1::HandshakeResponse::default();
            let client = Self { way, place: place.clone(), there };
            let ours = v1::HandshakeRequest { version: OURS.into(), protocol: PROTOCOL };
            let mut calls = client.daemon();
            let answered = calls.handshake(request(ours)).await;
            let there = match answered {
                Ok(there) => there.into_inner(),
                Err(status) => return Err(client.failed(status).await),
            };
            check(&place, &there)?;
            Ok(Self { there, ..client })
        };
        let late = || Err(unavailable(&place, format!("it says nothing within {PATIENCE:?}")));
        tokio::time::timeout(PATIENCE, opening).await.unwrap_or_else(|_| late())
    }

    /// Who is at the other end.
    #[must_use]
    pub fn there(&self) -> &v1::HandshakeResponse {
        &self.there
    }

    service! {
        /// Calls about the daemon.
        daemon DaemonClient
    }
    service! {
        /// Calls about runs.
        runs RunsClient
    }
    service! {
        /// Calls about playbooks.
        playbooks PlaybooksClient
    }
    service! {
        /// Calls about services.
        services ServicesClient
    }
    service! {
        /// Calls about approvals.
        approvals ApprovalsClient
    }
    service! {
        /// Calls about documents.
        documents DocumentsClient
    }
    service! {
        /// Calls about events.
        events EventsClient
    }

    /// Makes a call of one of the services and has its failure in our own words:
    /// `client.call(client.playbooks().list_playbooks(request(message)))`.
    ///
    /// # Errors
    /// What the daemon says, and `MC-V001` where it does not answer.
    pub async fn call<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T> {
        match tokio::time::timeout(WORK, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(self.failed(status).await),
            Err(_) => Err(unavailable(&self.place, format!("no answer within {WORK:?}"))),
        }
    }

    /// Records a script and has it executed.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn submit(&self, message: v1::SubmitRunRequest) -> Result<RunId> {
        let mut calls = self.runs();
        let answer = self.call(calls.submit_run(request(message))).await?;
        self.id(&answer.run)
    }

    /// Has a recorded run executed by the daemon.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn take(&self, run: &RunId, wish: &Wish) -> Result<()> {
        let message = v1::TakeRunRequest {
            run: run.to_string(),
            patience: wish.patience.map(|patience| u64::try_from(patience.as_millis()).unwrap_or(u64::MAX)),
            asks: wish.asks,
            doubts: doubts(wish),
            limits: wish.limits.clone(),
        };
        let mut calls = self.runs();
        self.call(calls.take_run(request(message))).await.map(drop)
    }

    /// Goes on with a run that is paused, or was interrupted.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn resume(&self, run: &RunId, wish: &Wish) -> Result<()> {
        let message = v1::ResumeRunRequest {
            run: run.to_string(),
            doubts: doubts(wish),
            limits: wish.limits.clone(),
            leave_plan: wish.leave_plan,
        };
        let mut calls = self.runs();
        self.call(calls.resume_run(request(message))).await.map(drop)
    }

    /// Gives a run up.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn cancel(&self, run: &RunId) -> Result<()> {
        let mut calls = self.runs();
        self.call(calls.cancel_run(request(v1::CancelRunRequest { run: run.to_string() }))).await.map(drop)
    }

    /// Has a run stop at its next effect, or at once.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn interrupt(&self, run: &RunId, hard: bool) -> Result<()> {
        let message = v1::InterruptRunRequest { run: run.to_string(), hard };
        let mut calls = self.runs();
        self.call(calls.interrupt_run(request(message))).await.map(drop)
    }

    /// Answers a question of a run.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn answer(&self, run: &RunId, question: u64, granted: bool) -> Result<()> {
        let message = v1::AnswerRunRequest { run: run.to_string(), question, granted };
        let mut calls = self.runs();
        self.call(calls.answer_run(request(message))).await.map(drop)
    }

    /// Follows a run.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn watch(&self, run: &RunId, history: bool, until_over: bool) -> Result<Watch> {
        self.follow(v1::WatchRunRequest { run: run.to_string(), history, until_over, looks_on: false }).await
    }

    /// Follows a run without answering its questions, until it is over, paused or stopped.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn look_on(&self, run: &RunId, history: bool) -> Result<Watch> {
        let (until_over, looks_on) = (false, true);
        self.follow(v1::WatchRunRequest { run: run.to_string(), history, until_over, looks_on }).await
    }

    async fn follow(&self, message: v1::WatchRunRequest) -> Result<Watch> {
        let mut calls = self.runs();
        let stream = self.call(calls.watch_run(request(message))).await?;
        Ok(Watch { client: self.clone(), stream })
    }

    /// Tells that something happened, with `data` as JSON.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn emit(&self, name: &str, data: &str) -> Result<()> {
        let message = v1::EmitEventRequest { name: name.into(), data: data.into() };
        let mut calls = self.events();
        self.call(calls.emit_event(request(message))).await.map(drop)
    }

    /// Follows events whose names match one of `patterns`, behind the one with the id `after` or from now on.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn watch_events(&self, patterns: Vec<String>, after: Option<u64>) -> Result<Events> {
        let message = v1::WatchEventsRequest { patterns, after };
        let mut calls = self.events();
        let stream = self.call(calls.watch_events(request(message))).await?;
        Ok(Events { client: self.clone(), stream })
    }

    /// Starts a playbook; `params` is a JSON object.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn start(&self, name: &str, params: &Value, key: Option<String>) -> Result<RunId> {
        let message = v1::StartPlaybookRequest { name: name.into(), params: params.to_string(), key };
        let mut calls = self.playbooks();
        let answer = self.call(calls.start_playbook(request(message))).await?;
        self.id(&answer.run)
    }

    fn id(&self, text: &str) -> Result<RunId> {
        text.parse().map_err(|error| garbage(&self.place, error))
    }

    async fn failed(&self, status: Status) -> Error {
        let theirs = (!self.there.version.is_empty()).then_some(self.there.version.as_str());
        match words(&status, CODES, &format!("the daemon at {}", self.place), theirs) {
            Some(error) => error,
            None => broken(&self.place, self.way.reason(&status).await),
        }
    }
}

/// A request that says which version asks.
pub fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(api::VERSION, MetadataValue::from_static(OURS));
    request
}

fn doubts(wish: &Wish) -> Vec<v1::Doubt> {
    let doubt = |(effect, decision): &(Option<String>, String)| v1::Doubt {
        effect: effect.clone(),
        decision: decision.clone(),
    };
    wish.doubts.iter().map(doubt).collect()
}

/// What a daemon says that does not count the changes of the API itself.
fn check(place: &str, there: &v1::HandshakeResponse) -> Result<()> {
    let older = match there.protocol {
        protocol if protocol == PROTOCOL => return Ok(()),
        protocol if protocol < PROTOCOL => "daemon",
        _ => "command line",
    };
    let version: String = there.version.chars().take(40).collect();
    let message = format!("the {older} is the older side: they do not understand one another");
    Err(Error::new(Code::ApiVersion, message).because(format!(
        "the daemon at {place} is mcrun {version} with protocol {}, this is mcrun {OURS} with protocol {PROTOCOL}",
        there.protocol
    )))
}
