//! Owns images over Docker's interface, which podman serves on the same socket: one implementation for every engine that
//! brings a [`Transport`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use effect::{Code, Error, Result};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Frame, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::mpsc;
use zeroize::Zeroize as _;

use super::engine::{Build, Held, Images, Limits, Login};
use super::reference::Reference;
use super::stream::{self, Told, explain};
use crate::engine::client::{refused, shortened};
use crate::engine::read::identifier;
use crate::observed::ImageDefaults;

/// Spoken by Docker since 19.03 and by podman since 4.0.
const PREFIX: &str = "/v1.40";
const LARGEST_ANSWER: usize = 16 << 20;
const MOST_LOOKS: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const SAFE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// How an engine is reached.
#[async_trait]
pub(crate) trait Transport: Send + Sync {
    /// The driver's name.
    fn driver(&self) -> &'static str;

    /// Where the engine looks for the authorities of one registry.
    fn trust_folder(&self, registry: &str) -> PathBuf;

    /// Sends a request on a connection of its own; never repeats it by itself. `within` bounds the wait for the head of
    /// the answer.
    async fn send(&self, request: Request<Upload>, within: Duration) -> Result<Response<Incoming>>;

    /// What the image says for omitted fields, in the form in which this engine shows it.
    async fn defaults(&self, image: &str) -> Result<Option<ImageDefaults>>;
}

/// The body of a request as it is made: pieces from a channel, until their sender is gone or says why it failed.
pub struct Upload(Option<mpsc::Receiver<std::io::Result<Bytes>>>);

impl Upload {
    /// No body at all.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// What comes out of a channel.
    #[must_use]
    pub fn of(pieces: mpsc::Receiver<std::io::Result<Bytes>>) -> Self {
        Self(Some(pieces))
    }
}

impl hyper::body::Body for Upload {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        match &mut self.0 {
            None => Poll::Ready(None),
            Some(pieces) => pieces.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

/// Images of an engine that speaks Docker's interface.
pub(crate) struct Api<T>(pub(crate) T);

impl<T: Transport> Api<T> {
    fn request(method: Method, path: &str, login: Option<&Login>, body: Upload) -> Result<Request<Upload>> {
        let malformed = |cause: &dyn std::fmt::Display| {
            Error::new(Code::Internal, "a request to the engine is malformed").because(cause)
        };
        let mut request =
            Request::builder().method(method).uri(format!("{PREFIX}{path}")).header("host", "engine");
        if body.0.is_some() {
            request = request.header("content-type", "application/x-tar");
        }
        if let Some(login) = login {
            let mut header = hyper::header::HeaderValue::from_str(&credentials(login))
                .map_err(|cause| malformed(&cause))?;
            header.set_sensitive(true);
            request = request.header("x-registry-auth", header);
        }
        request.body(body).map_err(|cause| malformed(&cause))
    }

    /// A plain question: the status and whole body of the answer.
    async fn ask(&self, method: Method, path: &str) -> Result<(StatusCode, Bytes)> {
        let response =
            self.0.send(Self::request(method, path, None, Upload::none())?, ANSWER_TIMEOUT).await?;
        let status = response.status();
        Ok((status, self.whole(response).await?))
    }

    async fn whole(&self, response: Response<Incoming>) -> Result<Bytes> {
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect();
        let collected = tokio::time::timeout(ANSWER_TIMEOUT, body).await;
        match collected {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(cause)) => Err(Error::new(
                Code::EngineFailed,
                format!("the answer of {} cannot be read", self.0.driver()),
            )
            .because(cause)),
            Err(_) => {
                Err(Error::new(Code::TimedOut, format!("{} did not finish its answer", self.0.driver()))
                    .retryable())
            }
        }
    }

    /// A call whose answer is a stream of messages.
    async fn follow(
        &self,
        doing: &str,
        path: &str,
        login: Option<&Login>,
        body: Upload,
        limits: &Limits,
    ) -> Result<Told> {
        let request = Self::request(Method::POST, path, login, body)?;
        let response = self.0.send(request, limits.total).await?;
        if !response.status().is_success() {
            let status = response.status();
            let body = self.whole(response).await?;
            return Err(explain(doing, &reason(status, &body)));
        }
        stream::listen(self.0.driver(), response.into_body(), limits).await
    }

    /// The error of a call that no registry has a part in.
    fn refused(&self, doing: &str, reason: &str) -> Error {
        refused(format!("{} refused to {doing}", self.0.driver()), reason)
    }

    fn parse<R: DeserializeOwned>(&self, body: &[u8]) -> Result<R> {
        serde_json::from_slice(body).map_err(|cause| {
            Error::new(Code::EngineFailed, format!("the answer of {} cannot be understood", self.0.driver()))
                .because(shortened(&cause.to_string()))
        })
    }
}

#[async_trait]
impl<T: Transport> Images for Api<T> {
    fn driver(&self) -> &'static str {
        self.0.driver()
    }

    fn trust_folder(&self, registry: &str) -> PathBuf {
        self.0.trust_folder(registry)
    }

    async fn inspect(&self, image: &str) -> Result<Option<Held>> {
        let (status, body) = self.ask(Method::GET, &format!("/images/{}/json", encode(image))).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            return Err(self.refused(&format!("show `{image}`"), &reason(status, &body)));
        }
        let mut held = self.parse::<Inspected>(&body)?.held();
        held.defaults = self.0.defaults(&held.id).await?;
        Ok(Some(held))
    }

    async fn list(&self) -> Result<Vec<Held>> {
        let mut looks = 1;
        loop {
            let (status, body) = self.ask(Method::GET, "/images/json").await?;
            if status.is_success() {
                let listed: Option<Vec<Listed>> = self.parse(&body)?;
                return Ok(listed.unwrap_or_default().into_iter().map(Listed::held).collect());
            }
            let reason = reason(status, &body);
            // podman fails as a whole when somebody removes an image, or a part of one, while it looks.
            let is_passing = ["not known", "locating item"].iter().any(|words| reason.contains(words));
            if !is_passing || looks == MOST_LOOKS {
                return Err(self.refused("list images", &reason));
            }
            looks += 1;
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    async fn pull(&self, reference: &Reference, login: Option<&Login>, limits: &Limits) -> Result<()> {
        let doing = format!("pull `{reference}`");
        let path = format!("/images/create?fromImage={}", encode(&reference.exact()));
        finished(&doing, self.follow(&doing, &path, login, Upload::none(), limits).await?).map(drop)
    }

    async fn load(&self, archive: Upload, limits: &Limits) -> Result<()> {
        let doing = "load the archive";
        finished(doing, self.follow(doing, "/images/load?quiet=true", None, archive, limits).await?).map(drop)
    }

    async fn build(&self, build: &Build, context: Upload, limits: &Limits) -> Result<String> {
        let mut path = format!(
            "/build?t={}&dockerfile={}&rm=true&forcerm=true",
            encode(&build.tag),
            encode(&build.file)
        );
        let map = |map: &BTreeMap<String, String>| encode(&json!(map).to_string());
        path.push_str(&format!("&buildargs={}&labels={}", map(&build.args), map(&build.labels)));
        if let Some(target) = &build.target {
            path.push_str(&format!("&target={}", encode(target)));
        }
        if build.no_cache {
            path.push_str("&nocache=true");
        }
        let doing = format!("build `{}`", build.tag);
        let told = self.follow(&doing, &path, None, context, limits).await?;
        if let Some(words) = told.error {
            let mut error = explain(&doing, &words);
            if error.code == Code::EngineFailed {
                error =
                    Error::new(Code::BuildFailed, format!("`{}` cannot be built", build.tag)).because(words);
            }
            error.details = told.lines.into();
            return Err(error);
        }
        told.id.ok_or_else(|| {
            Error::new(
                Code::BuildFailed,
                format!("the engine ended the build of `{}` without an image", build.tag),
            )
        })
    }

    async fn tag(&self, id: &str, reference: &Reference) -> Result<()> {
        let (repo, tag) = (encode(&reference.name()), encode(reference.tag_or_latest()));
        let (status, body) =
            self.ask(Method::POST, &format!("/images/{}/tag?repo={repo}&tag={tag}", encode(id))).await?;
        if status.is_success() {
            Ok(())
        } else {
            Err(explain(&format!("tag `{reference}`"), &reason(status, &body)))
        }
    }

    async fn push(&self, reference: &Reference, login: Option<&Login>, limits: &Limits) -> Result<()> {
        let doing = format!("push `{}`", reference.tagged());
        let path =
            format!("/images/{}/push?tag={}", encode(&reference.name()), encode(reference.tag_or_latest()));
        // Docker wants the header even where there is nothing to say.
        let nobody = Login { username: String::new(), password: Vec::new().into() };
        let told = self.follow(&doing, &path, Some(login.unwrap_or(&nobody)), Upload::none(), limits).await?;
        finished(&doing, told).map(drop)
    }

    async fn remove(&self, image: &str) -> Result<()> {
        let (status, body) = self.ask(Method::DELETE, &format!("/images/{}", encode(image))).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(()),
            status if status.is_success() => Ok(()),
            StatusCode::CONFLICT => {
                Err(Error::new(Code::EngineFailed, format!("a container uses `{image}`"))
                    .because(reason(status, &body))
                    .hint("remove the container first; `mcrun ps --all` lists them"))
            }
            status => Err(self.refused(&format!("remove `{image}`"), &reason(status, &body))),
        }
    }
}

fn finished(doing: &str, told: Told) -> Result<Told> {
    match &told.error {
        Some(words) => Err(explain(doing, words)),
        None => Ok(told),
    }
}

/// The header in which engines take credentials.
fn credentials(login: &Login) -> String {
    if login.username.is_empty() && login.password.is_empty() {
        return URL_SAFE.encode("{}");
    }
    let mut text =
        json!({ "username": login.username, "password": String::from_utf8_lossy(&login.password) })
            .to_string();
    let header = URL_SAFE.encode(&text);
    text.zeroize();
    header
}

fn reason(status: StatusCode, body: &[u8]) -> String {
    let told = serde_json::from_slice::<serde_json::Value>(body).ok();
    let words = told.as_ref().and_then(|told| told["message"].as_str().or_else(|| told["cause"].as_str()));
    words.map_or_else(|| format!("status {status}"), shortened)
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, SAFE).to_string()
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Inspected {
    #[serde(deserialize_with = "identifier")]
    id: String,
    repo_tags: Option<Vec<String>>,
    repo_digests: Option<Vec<String>>,
    size: u64,
    created: String,
    config: Option<Config>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Listed {
    #[serde(deserialize_with = "identifier")]
    id: String,
    repo_tags: Option<Vec<String>>,
    repo_digests: Option<Vec<String>>,
    size: u64,
    created: i64,
    labels: Option<BTreeMap<String, String>>,
}

impl Inspected {
    fn held(self) -> Held {
        Held {
            id: full_id(&self.id),
            tags: tags(self.repo_tags),
            digests: digests(self.repo_digests),
            size: self.size,
            created: Some(self.created).filter(|text| !text.is_empty()),
            labels: self.config.and_then(|config| config.labels).unwrap_or_default(),
            defaults: None,
        }
    }
}

impl Listed {
    fn held(self) -> Held {
        let created = jiff::Timestamp::from_second(self.created).ok().map(|at| at.to_string());
        Held {
            id: full_id(&self.id),
            tags: tags(self.repo_tags),
            digests: digests(self.repo_digests),
            size: self.size,
            created,
            labels: self.labels.unwrap_or_default(),
            defaults: None,
        }
    }
}

fn full_id(id: &str) -> String {
    if id.is_empty() || id.starts_with("sha256:") { id.to_owned() } else { format!("sha256:{id}") }
}

/// In full and sorted. podman lists an image that was pulled by its digest under that digest among the tags.
fn tags(tags: Option<Vec<String>>) -> Vec<String> {
    let known = tags.unwrap_or_default().into_iter().filter(|tag| !tag.contains('@') && !tag.contains('<'));
    in_full(known)
}

fn digests(digests: Option<Vec<String>>) -> Vec<String> {
    in_full(digests.unwrap_or_default().into_iter().filter(|digest| !digest.contains('<')))
}

fn in_full(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut full: Vec<String> = names
        .map(|name| {
            name.parse::<Reference>().map_or_else(|_| name.clone(), |reference| reference.to_string())
        })
        .collect();
    full.sort();
    full.dedup();
    full
}
