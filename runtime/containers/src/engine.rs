//! Owns what container engines have in common: Docker's interface over a unix socket and podman's own, which differ in
//! few calls. What differs is a [`Dialect`]'s; what a spec means is [`crate::diff`]'s.

mod attach;
pub(crate) mod client;
mod exec;
mod frames;
mod glance;
mod images;
pub(crate) mod read;
pub(crate) mod terms;
mod transfer;
mod unsaid;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use effect::{Code, Error, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::client::{CALL_TIMEOUT, Call, Client, Interface, Locate, refused};
use self::frames::{Frames, Lines};
use self::glance::Listed;
use self::read::{Inspected, InspectedImage};
use self::terms::{reader, spec_hash, stop_seconds};
use crate::attach::{Attach, Attached};
use crate::diff::FieldDiff;
use crate::driver::{Driver, Exec, ExecOutput, LogLine, LogQuery};
use crate::features::Feature;
use crate::images::Images;
use crate::observed::{ImageDefaults, LABEL_SPEC, Observed, State};
use crate::orphans::{End, Orphan};
use crate::secrets::Store;
use crate::spec::{Secrets, Spec};

/// How long a container has to stay up before its start counts as one.
const SETTLE: Duration = Duration::from_millis(30);
const INSPECTIONS_AT_ONCE: usize = 8;
const LAST_LINES: usize = 10;
const LOG_TIMEOUT: Duration = Duration::from_secs(60);
const MOST_LOG_LINES: usize = 100_000;
const PATH_SAFE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What one engine says differently.
pub(crate) trait Dialect: Default + Send + Sync + 'static {
    /// Its name, and what stands before the paths of its calls.
    const INTERFACE: Interface;
    /// What it declares to be able to do.
    const FEATURES: &'static [Feature];
    /// Whether the limits of a container that does not run can be changed.
    const CHANGES_STOPPED: bool;
    /// Whether the list of containers says exactly when each was started.
    const LISTS_STARTS: bool;

    /// Refuses what the engine would refuse only later.
    fn check(_spec: &Spec) -> Result<()> {
        Ok(())
    }

    /// The folder in which the engine looks for the authorities that it trusts, one folder a registry.
    fn trusted_authorities() -> PathBuf;

    /// The call that makes the container.
    fn create(spec: &Spec, secrets: &Secrets, store: &Store, hash: &str) -> Result<Call>;

    /// The call that changes `fields` in place; `None` where none of them needs one.
    fn update(reference: &str, fields: &[FieldDiff], spec: &Spec) -> Option<Call>;

    /// The path that stops a container.
    fn stop(reference: &str, seconds: u64) -> String;

    /// The path that removes a container and its anonymous volumes.
    fn remove(reference: &str, force: bool) -> String;

    /// Refuses a container beside which something runs that the engine has lost.
    fn check_free(&self, _: &Client, _: &Spec) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }

    /// What the engine has lost.
    fn orphans(&self, _: &Client) -> impl Future<Output = Result<Vec<Orphan>>> + Send {
        std::future::ready(Ok(Vec::new()))
    }

    /// Ends what is left of one.
    fn release(&self, _: &Client, _: &Orphan, _: &End<'_>) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }
}

/// The driver of one engine.
pub struct Engine<D> {
    client: Arc<Client>,
    images: images::Known,
    glimpses: glance::Glimpses,
    dialect: D,
}

#[expect(private_bounds, reason = "which engines there are is this crate's business")]
impl<D: Dialect> Engine<D> {
    pub(crate) fn at(locator: Box<dyn Locate>) -> Self {
        Self {
            client: Arc::new(Client::new(D::INTERFACE, locator)),
            images: images::Known::new(),
            glimpses: glance::Glimpses::default(),
            dialect: D::default(),
        }
    }

    /// Whether a socket or the program is there; looks at files only.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        self.client.locator().is_plausible()
    }

    /// These containers in whole, without those that are gone meanwhile.
    async fn shown(&self, mut ids: impl Iterator<Item = String>) -> Result<Vec<Observed>> {
        let mut tasks = JoinSet::new();
        let mut found = Vec::new();
        loop {
            while tasks.len() < INSPECTIONS_AT_ONCE
                && let Some(id) = ids.next()
            {
                let client = Arc::clone(&self.client);
                tasks.spawn(async move { inspect::<Inspected>(&client, &id).await });
            }
            let Some(joined) = tasks.join_next().await else { return Ok(found) };
            let inspected = joined.map_err(|cause| Error::ended("an inspection ended badly", &cause))??;
            found.extend(inspected.map(|inspected| inspected.observed(D::INTERFACE.name)));
        }
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
        self.reference(name).await?.ok_or_else(|| unknown(&self.client, name))
    }

    /// Whether an earlier call, cut off or answered into a broken connection, made exactly this container.
    async fn is_created(&self, name: &str, hash: &str) -> Result<Option<bool>> {
        let existing = self.inspect_raw(name).await?;
        Ok(existing.map(|existing| {
            existing.label(LABEL_SPEC) == Some(hash) && matches!(existing.status(), "created" | "configured")
        }))
    }

    async fn known(&self, name: &str) -> Result<Observed> {
        self.inspect(name).await?.ok_or_else(|| unknown(&self.client, name))
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
        refused(format!("{} refused to start `{name}`", D::INTERFACE.name), reason)
    }

    async fn log_frames(&self, name: &str, query: &LogQuery, follow: bool) -> Result<Frames> {
        let reference = self.known_reference(name).await?;
        let mut path = format!("/containers/{reference}/logs?stdout=true&stderr=true&timestamps=true");
        path.push_str(&format!("&follow={follow}"));
        if let Some(tail) = query.tail {
            path.push_str(&format!("&tail={tail}"));
        }
        if let Some(since) = query.since.and_then(|at| jiff::Timestamp::from_millisecond(at).ok()) {
            path.push_str(&format!("&since={}.{:09}", since.as_second(), since.subsec_nanosecond()));
        }
        let response = self.client.stream(&Call::get(path)).await?;
        match response.status().as_u16() {
            200 => Ok(Frames::new(response.into_body())),
            404 => Err(unknown(&self.client, name)),
            status => Err(Error::new(
                Code::EngineFailed,
                format!("{} refused the logs of `{name}`: status {status}", D::INTERFACE.name),
            )),
        }
    }

    fn create_error(&self, spec: &Spec, reason: &str) -> Error {
        let image = spec.image.as_deref().unwrap_or_default();
        if reason.contains("image not known") || reason.contains("No such image") {
            return Error::new(Code::ImageMissing, format!("the image `{image}` is not on this node"))
                .because(reason)
                .hint("`images.ensure` pulls or loads it; `mcrun images` lists what is here");
        }
        let error = refused(format!("{} refused to create `{}`", D::INTERFACE.name, spec.name), reason);
        if reason.contains("already in use") && D::INTERFACE.name == "podman" {
            return error.hint("its storage outlived a lost engine database: `mcrun recover` takes it away");
        }
        error
    }
}

#[async_trait]
impl<D: Dialect> Driver for Engine<D> {
    fn name(&self) -> &'static str {
        D::INTERFACE.name
    }

    fn place(&self) -> String {
        let sockets = self.client.locator().sockets();
        let existing = sockets.iter().find(|path| path.exists());
        existing.or(sockets.last()).map_or_else(String::new, |path| path.display().to_string())
    }

    fn features(&self) -> &'static [Feature] {
        D::FEATURES
    }

    fn images(&self) -> Option<Arc<dyn Images>> {
        Some(Arc::new(crate::images::Api(transfer::Transport::<D>::new(Arc::clone(&self.client)))))
    }

    fn check(&self, spec: &Spec) -> Result<()> {
        crate::features::check(self.name(), self.features(), spec)?;
        D::check(spec)
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
        Ok(self.inspect_raw(name).await?.map(|inspected| inspected.observed(self.name())))
    }

    async fn unsaid(&self, name: &str) -> Result<Vec<String>> {
        let reference = self.known_reference(name).await?;
        let shown = inspect::<serde_json::Value>(&self.client, &reference).await?;
        Ok(shown.as_ref().map(unsaid::unsaid).unwrap_or_default())
    }

    async fn list(&self) -> Result<Vec<Observed>> {
        let listed = listed(&self.client, "").await?;
        let mut found = self.shown(listed.into_iter().map(|container| container.id)).await?;
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    async fn glance(&self) -> Result<Vec<Observed>> {
        let listed = listed(&self.client, "").await?;
        let changed = self.glimpses.changed(&listed, D::LISTS_STARTS);
        let shown = self.shown(changed.into_iter()).await?;
        Ok(self.glimpses.after(listed, shown, D::LISTS_STARTS))
    }

    async fn create(&self, spec: &Spec, image: Option<&ImageDefaults>, secrets: &Secrets) -> Result<()> {
        self.dialect.check_free(&self.client, spec).await?;
        let hash = spec_hash(spec, image, secrets);
        let store = Store::new(self.name(), &spec.name);
        if !secrets.is_empty() {
            // The files of one that exists stay as they are.
            match self.is_created(&spec.name, &hash).await? {
                None => {}
                Some(true) => return store.write(secrets, reader(spec, image)),
                Some(false) => return Err(exists(&spec.name)),
            }
            store.write(secrets, reader(spec, image))?;
        }
        let answer = self.client.call(&D::create(spec, secrets, &store, &hash)?).await?;
        let existing =
            if answer.status.is_success() { Some(true) } else { self.is_created(&spec.name, &hash).await? };
        match existing {
            Some(true) if secrets.is_empty() => store.clear(),
            Some(true) => Ok(()),
            Some(false) => Err(exists(&spec.name)),
            None => {
                store.clear()?;
                Err(self.create_error(spec, &answer.reason()))
            }
        }
    }

    async fn update(&self, name: &str, fields: &[FieldDiff], spec: &Spec) -> Result<()> {
        let Some(call) = D::update(&self.known_reference(name).await?, fields, spec) else { return Ok(()) };
        // The limits of a container that does not run are set by its next start; only then can they be changed.
        if !D::CHANGES_STOPPED && self.known(name).await?.state != State::Running {
            self.start(name).await?;
        }
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
            404 => Err(unknown(&self.client, name)),
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
        let Some(observed) = self.inspect(name).await? else { return Ok(()) };
        let seconds = stop_seconds(timeout.unwrap_or(observed.stop_timeout.0));
        let call =
            Call::post(D::stop(&observed.id, seconds)).within(Duration::from_secs(seconds) + CALL_TIMEOUT);
        // 304: it does not run; 404: there is none; 409: it was never started.
        self.client.call(&call).await?.accept(&format!("stop `{name}`"), &[304, 404, 409])?;
        Ok(())
    }

    async fn pause(&self, name: &str) -> Result<()> {
        if self.known(name).await?.state == State::Paused {
            return Ok(());
        }
        let call = Call::post(format!("/containers/{}/pause", self.known_reference(name).await?));
        self.client.call(&call).await?.accept(&format!("pause `{name}`"), &[])?;
        Ok(())
    }

    async fn remove(&self, name: &str, force: bool) -> Result<()> {
        // Anonymous volumes go with it; named ones stay.
        if let Some(reference) = self.reference(name).await? {
            let call = Call::delete(D::remove(&reference, force)).within(4 * CALL_TIMEOUT);
            self.client.call(&call).await?.accept(&format!("remove `{name}`"), &[404])?;
        }
        Store::new(self.name(), name).clear()
    }

    async fn logs(&self, name: &str, query: &LogQuery) -> Result<Vec<LogLine>> {
        let read = async {
            let mut frames = self.log_frames(name, query, false).await?;
            let mut lines = Lines::default();
            let mut found = VecDeque::new();
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
            Err(Error::new(Code::TimedOut, format!("{} did not finish the logs of `{name}`", self.name())))
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

    async fn attach(&self, name: &str, attach: &Attach) -> Result<Attached> {
        attach::run(&self.client, name, &self.known_reference(name).await?, attach).await
    }

    async fn orphans(&self) -> Result<Vec<Orphan>> {
        self.dialect.orphans(&self.client).await
    }

    async fn release(&self, orphan: &Orphan, end: &End<'_>) -> Result<()> {
        self.dialect.release(&self.client, orphan, end).await?;
        // The secrets of one that was made again under the name are its own.
        let is_free = crate::spec::is_name(&orphan.name) && self.inspect_raw(&orphan.name).await?.is_none();
        if is_free { Store::new(self.name(), &orphan.name).clear() } else { Ok(()) }
    }

    async fn ping(&self) -> Result<String> {
        let answer = self.client.call(&Call::get("/_ping")).await?.accept("answer", &[])?;
        Ok(answer.version.unwrap_or_default())
    }
}

async fn listed(client: &Client, filters: &str) -> Result<Vec<Listed>> {
    let answer = client.call(&Call::get(format!("/containers/json?all=true{filters}"))).await?;
    let listed: Option<Vec<Listed>> = answer.accept("list containers", &[])?.parse()?;
    Ok(listed.unwrap_or_default())
}

async fn inspect<T: DeserializeOwned>(client: &Client, reference: &str) -> Result<Option<T>> {
    let answer = client.call(&Call::get(format!("/containers/{reference}/json"))).await?;
    // podman calls it a failure of its own when the container goes away while it is looked at.
    let is_going = answer.status.as_u16() == 500 && answer.reason().contains("no such container");
    if is_going || answer.status.as_u16() == 404 {
        return Ok(None);
    }
    answer.accept(&format!("show `{reference}`"), &[])?.parse().map(Some)
}

fn keep_newest(found: &mut VecDeque<LogLine>, lines: &mut Lines, limit: usize) {
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

fn unknown(client: &Client, name: &str) -> Error {
    Error::new(Code::ContainerUnknown, format!("{} has no container `{name}`", client.engine()))
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, PATH_SAFE).to_string()
}
