//! The podman driver: libpod's REST interface over a unix socket, rootful and rootless. Knows the engine's traps; what
//! a spec means is [`crate::diff`]'s.

mod client;
mod create;
mod exec;
mod frames;
mod read;
mod service;
mod store;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use effect::{Code, Error, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::client::{CALL_TIMEOUT, Call, Client};
use self::frames::{Frames, Lines};
use self::read::{Inspected, InspectedImage};
use crate::diff::FieldDiff;
use crate::driver::{Driver, Exec, ExecOutput, LogLine, LogQuery};
use crate::features::Feature;
use crate::observed::{ImageDefaults, LABEL_SPEC, Observed, State};
use crate::secrets::{Reader, Store};
use crate::spec::{Secrets, Spec};

const NAME: &str = "podman";
const REALM: &str = "podman";
const FEATURES: &[Feature] = &[
    Feature::Image,
    Feature::Entrypoint,
    Feature::Secrets,
    Feature::Volumes,
    Feature::SamePathVolumes,
    Feature::ReadOnlyVolumes,
    Feature::NamedVolumes,
    Feature::Ports,
    Feature::PortMapping,
    Feature::PortAddress,
    Feature::UdpPorts,
    Feature::Network,
    Feature::HostNetwork,
    Feature::User,
    Feature::Cpus,
    Feature::Memory,
    Feature::ReadOnly,
    Feature::Privileged,
    Feature::Devices,
    Feature::CapAdd,
    Feature::UpdateMemory,
    Feature::UpdateCpus,
];
/// How long a container has to stay up before its start counts as one.
const SETTLE: Duration = Duration::from_millis(30);
const INSPECTIONS_AT_ONCE: usize = 8;
const LAST_LINES: usize = 10;
const LOG_TIMEOUT: Duration = Duration::from_secs(60);
const MOST_LOG_LINES: usize = 100_000;
const PATH_SAFE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// How to reach podman.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The socket; looked for in the usual places unless given.
    pub socket: Option<PathBuf>,
    /// Where the socket of a service that mcrun starts itself is put.
    pub state_dir: PathBuf,
}

/// The driver.
pub struct Podman {
    client: Arc<Client>,
    images: store::Known,
}

impl Podman {
    /// A driver that connects when it is first needed.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let locator = service::Locator::new(options.socket, options.state_dir);
        Self { client: Arc::new(Client::new(locator)), images: store::Known::new() }
    }

    /// Whether a socket or the program is there; looks at files only.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        self.client.locator().is_plausible()
    }

    async fn inspect_raw(&self, name: &str) -> Result<Option<Inspected>> {
        match self.reference(name).await? {
            Some(reference) => inspect(&self.client, &reference).await,
            None => Ok(None),
        }
    }

    /// What the engine has to be told so that it means exactly the container called `name`. It takes the beginning of
    /// an id for a name too, so a name that could be one, such as `db`, is looked up first.
    async fn reference(&self, name: &str) -> Result<Option<String>> {
        if !name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(Some(encode(name)));
        }
        let filters = encode(&serde_json::json!({ "name": [format!("^{name}$")] }).to_string());
        let found = listed(&self.client, &format!("&filters={filters}")).await?;
        Ok(found.into_iter().next().map(|container| container.id))
    }

    async fn known_reference(&self, name: &str) -> Result<String> {
        self.reference(name).await?.ok_or_else(|| unknown(name))
    }

    /// Whether an earlier call, cut off or answered into a broken connection, made exactly this container.
    async fn is_created(&self, name: &str, hash: &str) -> Result<Option<bool>> {
        let existing = self.inspect_raw(name).await?;
        Ok(existing.map(|existing| {
            existing.label(LABEL_SPEC) == Some(hash) && matches!(existing.status(), "created" | "configured")
        }))
    }

    async fn known(&self, name: &str) -> Result<Observed> {
        self.inspect(name).await?.ok_or_else(|| unknown(name))
    }

    async fn last_lines(&self, name: &str) -> Vec<String> {
        let lines = self.logs(name, &LogQuery::tail(LAST_LINES)).await.unwrap_or_default();
        lines.into_iter().map(|line| line.line).collect()
    }

    /// Fails where a container that was just started is down again.
    async fn settle(&self, name: &str) -> Result<Observed> {
        sleep(SETTLE).await;
        let observed = self.known(name).await?;
        if observed.state != State::Exited && observed.restarts == 0 {
            return Ok(observed);
        }
        let code = observed.exit_code.map_or_else(String::new, |code| format!(" with exit code {code}"));
        let mut error = Error::new(Code::ExitedEarly, format!("`{name}` ended right after its start{code}"));
        error.details = self.last_lines(name).await;
        Err(error)
    }

    /// The error of a refused start, told apart where the engine's words allow it.
    async fn start_error(&self, name: &str, reason: &str) -> Error {
        if reason.contains("address already in use") || reason.contains("port is already allocated") {
            let ports = self.inspect(name).await.ok().flatten().map(|observed| observed.ports);
            return crate::ports::occupied(name, &ports.unwrap_or_default())
                .unwrap_or_else(|| Error::new(Code::PortOccupied, format!("a port of `{name}` is in use")))
                .because(reason);
        }
        let is_missing = ["command that was not found", "no such file or directory", "permission denied"]
            .iter()
            .any(|words| reason.contains(words));
        if reason.contains("exec") && is_missing {
            return Error::new(Code::ProgramMissing, format!("`{name}` has no such program")).because(reason);
        }
        Error::new(Code::EngineFailed, format!("podman refused to start `{name}`")).because(reason)
    }

    async fn log_frames(&self, name: &str, query: &LogQuery, follow: bool) -> Result<Frames> {
        let reference = self.known_reference(name).await?;
        let mut path = format!("/containers/{reference}/logs?stdout=true&stderr=true&timestamps=true");
        path.push_str(&format!("&follow={follow}"));
        if let Some(tail) = query.tail {
            path.push_str(&format!("&tail={tail}"));
        }
        if let Some(since) = query.since.and_then(|at| jiff::Timestamp::from_millisecond(at).ok()) {
            path.push_str(&format!("&since={}", encode(&since.to_string())));
        }
        let response = self.client.stream(&Call::get(path)).await?;
        match response.status().as_u16() {
            200 => Ok(Frames::new(response.into_body())),
            404 => Err(unknown(name)),
            status => Err(Error::new(
                Code::EngineFailed,
                format!("podman refused the logs of `{name}`: status {status}"),
            )),
        }
    }
}

#[async_trait]
impl Driver for Podman {
    fn name(&self) -> &'static str {
        NAME
    }

    fn place(&self) -> String {
        let sockets = self.client.locator().sockets();
        let existing = sockets.iter().find(|path| path.exists());
        existing.or(sockets.last()).map_or_else(String::new, |path| path.display().to_string())
    }

    fn features(&self) -> &'static [Feature] {
        FEATURES
    }

    async fn image_defaults(&self, image: &str) -> Result<Option<ImageDefaults>> {
        let ticket = match self.images.get(image) {
            Ok(known) => return Ok(Some(known)),
            Err(ticket) => ticket,
        };
        let answer = self.client.call(&Call::get(format!("/images/{}/json", encode(image)))).await?;
        let answer = answer.accept(&format!("show the image `{image}`"), &[404])?;
        if answer.status.as_u16() == 404 {
            return Ok(None);
        }
        let inspected = answer.parse::<InspectedImage>()?;
        let list = inspected.list();
        let defaults = inspected.defaults();
        self.images.put(&ticket, image, &defaults, list);
        Ok(Some(defaults))
    }

    async fn inspect(&self, name: &str) -> Result<Option<Observed>> {
        Ok(self.inspect_raw(name).await?.map(Inspected::observed))
    }

    async fn list(&self) -> Result<Vec<Observed>> {
        let mut pending = listed(&self.client, "").await?.into_iter();
        let mut tasks = JoinSet::new();
        let mut found = Vec::new();
        loop {
            while tasks.len() < INSPECTIONS_AT_ONCE
                && let Some(next) = pending.next()
            {
                let client = Arc::clone(&self.client);
                tasks.spawn(async move { inspect(&client, &next.id).await });
            }
            let Some(joined) = tasks.join_next().await else { break };
            let inspected = joined
                .map_err(|cause| Error::new(Code::Internal, "an inspection ended badly").because(cause))??;
            // One that was removed in between is no longer there to be listed.
            found.extend(inspected.map(Inspected::observed));
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    async fn create(&self, spec: &Spec, image: Option<&ImageDefaults>, secrets: &Secrets) -> Result<()> {
        let hash = spec_hash(spec, image, secrets);
        let store = Store::new(REALM, &spec.name);
        if !secrets.is_empty() {
            // The files of one that exists stay as they are.
            match self.is_created(&spec.name, &hash).await? {
                None => {}
                Some(true) => return store.write(secrets, reader(spec, image)),
                Some(false) => return Err(exists(&spec.name)),
            }
            store.write(secrets, reader(spec, image))?;
        }
        let body = create::body(spec, secrets, &store, &hash)?;
        let answer = self.client.call(&Call::post("/containers/create").json(&body)).await?;
        let existing =
            if answer.status.is_success() { Some(true) } else { self.is_created(&spec.name, &hash).await? };
        match existing {
            Some(true) if secrets.is_empty() => store.clear(),
            Some(true) => Ok(()),
            Some(false) => Err(exists(&spec.name)),
            None => {
                store.clear()?;
                Err(create_error(spec, &answer.reason()))
            }
        }
    }

    async fn update(&self, name: &str, fields: &[FieldDiff], spec: &Spec) -> Result<()> {
        if !fields.iter().any(|field| matches!(field.path.as_str(), "memory" | "cpus")) {
            return Ok(());
        }
        // The limits of a container that does not run are set by its next start; only then can they be changed.
        if self.inspect_raw(name).await?.is_none_or(|inspected| inspected.status() != "running") {
            self.start(name).await?;
        }
        let call =
            Call::post(format!("/containers/{}/update", encode(name))).json(&create::limits(spec, true));
        self.client.call(&call).await?.accept(&format!("change the limits of `{name}`"), &[])?;
        Ok(())
    }

    async fn start(&self, name: &str) -> Result<Observed> {
        let reference = self.known_reference(name).await?;
        let call = Call::post(format!("/containers/{reference}/start")).within(2 * CALL_TIMEOUT);
        let answer = self.client.call(&call).await?;
        match answer.status.as_u16() {
            // 304: it runs already, which is what was wanted.
            304 => self.known(name).await,
            404 => Err(unknown(name)),
            status if (200..300).contains(&status) => self.settle(name).await,
            _ if self.known(name).await?.state == State::Paused => {
                let call = Call::post(format!("/containers/{reference}/unpause"));
                self.client.call(&call).await?.accept(&format!("let `{name}` go on"), &[])?;
                self.known(name).await
            }
            _ => Err(self.start_error(name, &answer.reason()).await),
        }
    }

    async fn stop(&self, name: &str, timeout: Option<Duration>) -> Result<()> {
        let Some(inspected) = self.inspect_raw(name).await? else { return Ok(()) };
        let observed = inspected.observed();
        let seconds = create::stop_seconds(timeout.unwrap_or(observed.stop_timeout.0));
        let call = Call::post(format!("/containers/{}/stop?timeout={seconds}", observed.id))
            .within(Duration::from_secs(seconds) + CALL_TIMEOUT);
        // 304: it does not run; 404: there is none; 409: it was never started.
        self.client.call(&call).await?.accept(&format!("stop `{name}`"), &[304, 404, 409])?;
        Ok(())
    }

    async fn remove(&self, name: &str, force: bool) -> Result<()> {
        // Anonymous volumes go with it; named ones stay. (`v` is the compat interface's name and does nothing here.)
        if let Some(reference) = self.reference(name).await? {
            let path = format!("/containers/{reference}?force={force}&volumes=true");
            let call = Call::delete(path).within(4 * CALL_TIMEOUT);
            self.client.call(&call).await?.accept(&format!("remove `{name}`"), &[404])?;
        }
        Store::new(REALM, name).clear()
    }

    async fn logs(&self, name: &str, query: &LogQuery) -> Result<Vec<LogLine>> {
        let read = async {
            let mut frames = self.log_frames(name, query, false).await?;
            let mut lines = Lines::default();
            let mut found = std::collections::VecDeque::new();
            let limit = query.tail.unwrap_or(MOST_LOG_LINES);
            while let Some((stream, data)) = frames.next().await {
                lines.push(stream, &data);
                keep_newest(&mut found, &mut lines, limit);
            }
            lines.finish();
            keep_newest(&mut found, &mut lines, limit);
            Ok(found.into())
        };
        timeout(LOG_TIMEOUT, read).await.unwrap_or_else(|_| {
            Err(Error::new(Code::TimedOut, format!("podman did not finish the logs of `{name}`")))
        })
    }

    async fn follow(&self, name: &str, query: &LogQuery) -> Result<mpsc::Receiver<LogLine>> {
        let mut frames = self.log_frames(name, query, true).await?;
        let (sender, receiver) = mpsc::channel(256);
        tokio::spawn(async move {
            let mut lines = Lines::default();
            loop {
                tokio::select! {
                    frame = frames.next() => match frame {
                        Some((stream, data)) => lines.push(stream, &data),
                        None => return,
                    },
                    () = sender.closed() => return,
                }
                while let Some(line) = lines.pop() {
                    if sender.send(line).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(receiver)
    }

    async fn exec(&self, name: &str, exec: &Exec) -> Result<ExecOutput> {
        exec::run(&self.client, name, &self.known_reference(name).await?, exec).await
    }

    async fn ping(&self) -> Result<String> {
        let answer = self.client.call(&Call::get("/_ping")).await?.accept("answer", &[])?;
        Ok(answer.version.unwrap_or_default())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
}

async fn listed(client: &Client, filters: &str) -> Result<Vec<Listed>> {
    let answer = client.call(&Call::get(format!("/containers/json?all=true{filters}"))).await?;
    let listed: Option<Vec<Listed>> = answer.accept("list containers", &[])?.parse()?;
    Ok(listed.unwrap_or_default())
}

async fn inspect(client: &Client, reference: &str) -> Result<Option<Inspected>> {
    let answer = client.call(&Call::get(format!("/containers/{reference}/json"))).await?;
    let answer = answer.accept(&format!("show `{reference}`"), &[404])?;
    if answer.status.as_u16() == 404 { Ok(None) } else { answer.parse().map(Some) }
}

fn keep_newest(found: &mut std::collections::VecDeque<LogLine>, lines: &mut Lines, limit: usize) {
    while let Some(line) = lines.pop() {
        found.push_back(line);
        if found.len() > limit {
            found.pop_front();
        }
    }
}

fn exists(name: &str) -> Error {
    Error::new(Code::EngineFailed, format!("a container `{name}` exists already"))
}

fn create_error(spec: &Spec, reason: &str) -> Error {
    let image = spec.image.as_deref().unwrap_or_default();
    if reason.contains("image not known") || reason.contains("No such image") {
        return Error::new(Code::ImageMissing, format!("the image `{image}` is not on this node"))
            .because(reason)
            .hint(format!("pull or load it first: `podman pull {image}`"));
    }
    let error =
        Error::new(Code::EngineFailed, format!("podman refused to create `{}`", spec.name)).because(reason);
    if reason.contains("already in use") {
        return error.hint(
            "its storage outlived a lost engine database: `podman ps --all --external` shows it, and `podman rm --force` \
             removes it once its processes have ended",
        );
    }
    error
}

/// Who reads the secret files inside: a numeric user owns them, a named one is known to the image alone.
fn reader(spec: &Spec, image: Option<&ImageDefaults>) -> Reader {
    let user = spec.user.as_deref().or(image.map(|image| image.user.as_str())).unwrap_or_default();
    let mut words = user.split(':').map(str::parse::<u32>);
    let is_root = rustix::process::geteuid().is_root();
    match (words.next(), words.next()) {
        _ if !is_root => Reader::Anyone,
        (Some(Ok(user)), Some(Ok(group))) => Reader::User(user, group),
        (Some(Ok(user)), None) => Reader::User(user, 0),
        _ if matches!(user, "" | "root") => Reader::User(0, 0),
        _ => Reader::Anyone,
    }
}

/// A hint by which a cut-off `create` is recognised; never compared to tell whether something changed.
fn spec_hash(spec: &Spec, image: Option<&ImageDefaults>, secrets: &Secrets) -> String {
    let tags: Vec<_> = secrets.iter().map(|(name, material)| (name, &material.tag)).collect();
    let text = serde_json::json!([spec, image.map(|image| &image.id), tags]).to_string();
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}

fn unknown(name: &str) -> Error {
    Error::new(Code::ContainerUnknown, format!("podman has no container `{name}`"))
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, PATH_SAFE).to_string()
}
