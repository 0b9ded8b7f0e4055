//! Owns finding what podman has lost: containers whose processes or storage are there and of which its database says
//! nothing, as after that was deleted or made anew.
//!
//! A process belongs to a container by its control group, and its monitor by the words that podman started it with. Both are
//! looked up in `/proc` each time: nothing that was read earlier is acted on.

mod network;
mod process;
mod release;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use effect::Result;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use self::process::{Monitor, children, containers_of_processes, is_in_own_namespace, monitors};
use crate::engine::client::{Call, Client};
use crate::orphans::Orphan;
use crate::spec::Spec;

pub(super) use release::release;

/// How often a list is asked for again that failed, and the pause before.
const LISTED_AGAIN: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);
/// How long it is taken for granted where podman keeps things.
const STORE_STAYS: Duration = Duration::from_secs(10);
/// How long nobody looks again who found nothing in the way.
const LOOK_STAYS: Duration = Duration::from_secs(1);

/// Where podman keeps things.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Store {
    graph_root: PathBuf,
    run_root: PathBuf,
    graph_driver_name: String,
    /// How it makes networks.
    #[serde(skip)]
    network: network::Backend,
}

#[derive(Deserialize)]
struct Info {
    host: network::Backend,
    store: Store,
}

impl Store {
    async fn of(client: &Client) -> Result<Self> {
        let answer = client.call(&Call::get("/info")).await?.accept("describe itself", &[])?;
        let Info { host, store } = answer.parse()?;
        Ok(Self { network: host, ..store })
    }

    /// The folder of every container of this store.
    fn containers(&self) -> PathBuf {
        self.graph_root.join(format!("{}-containers", self.graph_driver_name))
    }

    fn folder(&self, id: &str) -> PathBuf {
        self.containers().join(id)
    }

    /// Whether a monitor is this store's: of this machine's own processes, of the user whose store it is.
    fn is_own(&self, monitor: &Monitor) -> bool {
        let owner = |path: &Path| std::fs::metadata(path).map(|found| found.uid()).ok();
        let is_plain = monitor.bundle.components().all(|part| part != Component::ParentDir);
        let user = owner(Path::new(&format!("/proc/{}", monitor.pid)));
        is_plain
            && monitor.bundle.starts_with(&self.graph_root)
            && crate::spec::is_name(&monitor.name)
            && is_in_own_namespace(monitor.pid)
            && user.is_some()
            && user == owner(&self.graph_root)
    }

    /// The names of its containers, from its own list, which outlives podman's database.
    fn names(&self) -> BTreeMap<String, String> {
        #[derive(Deserialize)]
        struct Kept {
            id: String,
            #[serde(default)]
            names: Vec<String>,
        }
        let text = std::fs::read(self.containers().join("containers.json")).unwrap_or_default();
        let kept: Vec<Kept> = serde_json::from_slice(&text).unwrap_or_default();
        kept.into_iter().filter_map(|kept| Some((kept.id, kept.names.into_iter().next()?))).collect()
    }

    /// The paths of this machine that a container may write to, from the description that its runtime was given.
    fn volumes(&self, bundle: &Path) -> Vec<String> {
        let text = std::fs::read(bundle.join("config.json")).unwrap_or_default();
        // What cannot be read may write anywhere.
        let Ok(config) = serde_json::from_slice::<Value>(&text) else { return vec!["/".to_owned()] };
        let is_own = |path: &Path| path.starts_with(&self.run_root) || path.starts_with(self.containers());
        let mounts = config["mounts"].as_array().into_iter().flatten().filter(|mount| {
            let options = mount["options"].as_array().into_iter().flatten();
            mount["type"] == "bind" && !options.into_iter().any(|option| option == "ro")
        });
        let sources = mounts.filter_map(|mount| mount["source"].as_str());
        sources.filter(|source| !is_own(Path::new(source))).map(str::to_owned).collect()
    }
}

/// A container by what is left of it.
#[derive(Debug, Default)]
struct Left {
    monitor: Option<Monitor>,
    processes: Vec<u32>,
    name: Option<String>,
}

/// Everything of this store that runs, or whose storage is there, whether podman knows it or not.
fn all_left(store: &Store, stored: &BTreeMap<String, String>) -> BTreeMap<String, Left> {
    let mut left: BTreeMap<String, Left> = BTreeMap::new();
    for monitor in monitors().into_iter().filter(|monitor| store.is_own(monitor)) {
        let entry = left.entry(monitor.id.clone()).or_default();
        // A program that runs inside the container has a monitor too, without a description of its own.
        if entry.monitor.is_none() || monitor.bundle.join("config.json").is_file() {
            entry.name = Some(monitor.name.clone());
            entry.monitor = Some(monitor);
        }
    }
    for (id, processes) in containers_of_processes() {
        // One of another store, such as another user's, has its folder elsewhere.
        if left.contains_key(&id) || store.folder(&id).is_dir() {
            left.entry(id).or_default().processes = processes;
        }
    }
    // Where containers have no groups of their own, what runs are the children of their monitor.
    for one in left.values_mut().filter(|one| one.processes.is_empty()) {
        one.processes = one.monitor.as_ref().map(|monitor| children(monitor.pid)).unwrap_or_default();
    }
    for (id, name) in stored {
        left.entry(id.clone()).or_default().name.get_or_insert_with(|| name.clone());
    }
    left
}

/// What podman lists: the containers of its database, and beside them storage that is nobody's, as ids.
async fn listed(client: &Client) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Listed {
        id: String,
        #[serde(default)]
        state: Option<String>,
        #[serde(default)]
        command: Option<Vec<String>>,
    }
    let call = Call::get("/containers/json?all=true&external=true");
    let mut answer = client.call(&call).await?;
    // podman fails as a whole when one of them goes away while it looks.
    for _ in 0..LISTED_AGAIN {
        if answer.status.is_success() {
            break;
        }
        sleep(PAUSE).await;
        answer = client.call(&call).await?;
    }
    let all: Option<Vec<Listed>> = answer.accept("list containers", &[])?.parse()?;
    let (mut known, mut storage) = (BTreeSet::new(), BTreeSet::new());
    for one in all.unwrap_or_default() {
        if one.state.as_deref() != Some("storage") {
            known.insert(one.id);
        } else if one.command.is_some_and(|command| command == ["storage"]) {
            // A build's storage is no container's: its command is `buildah`.
            storage.insert(one.id);
        }
    }
    Ok((known, storage))
}

/// Whether podman knows a container by this id.
async fn is_known(client: &Client, id: &str) -> Result<bool> {
    let answer = client.call(&Call::get(format!("/containers/{id}/exists"))).await?;
    Ok(answer.accept("look for a container", &[404])?.status.is_success())
}

/// What looks for orphans remember of one another. Where the store is does not change from one moment to the next, and podman
/// takes long to say it.
#[derive(Default)]
pub(super) struct Looks {
    store: Mutex<Option<(Instant, Arc<Store>)>>,
    last: Mutex<Option<(Instant, Vec<Orphan>)>>,
}

impl Looks {
    /// Where podman keeps things.
    pub(super) async fn store(&self, client: &Client) -> Result<Arc<Store>> {
        let mut known = self.store.lock().await;
        if let Some((since, store)) = known.as_ref()
            && since.elapsed() < STORE_STAYS
        {
            return Ok(Arc::clone(store));
        }
        let asked = Instant::now();
        let store = Arc::new(Store::of(client).await?);
        *known = Some((asked, Arc::clone(&store)));
        Ok(store)
    }

    /// All orphans, in the order of their names.
    pub(super) async fn find(&self, client: &Client) -> Result<Vec<Orphan>> {
        let store = self.store(client).await?;
        find(&store, client).await
    }

    /// Refuses a container that an orphan would be harmed by, or harm. Only where something runs that may be one is podman
    /// asked.
    pub(super) async fn check_free(&self, client: &Client, spec: &Spec) -> Result<()> {
        let has_name = |monitor: &Monitor| monitor.name == spec.name;
        let may_be_harmed = !spec.volumes.is_empty() && !containers_of_processes().is_empty();
        if !may_be_harmed && !monitors().iter().any(has_name) {
            return Ok(());
        }
        let conflict = |orphans: &[Orphan]| orphans.iter().find_map(|orphan| orphan.conflict(spec));
        // Many are made at a time: who comes while another looks takes what that one finds.
        let mut last = self.last.lock().await;
        if let Some((since, orphans)) = last.as_ref()
            && since.elapsed() < LOOK_STAYS
            && conflict(orphans).is_none()
        {
            return Ok(());
        }
        let looked = Instant::now();
        let orphans = self.find(client).await?;
        let found = conflict(&orphans);
        *last = Some((looked, orphans));
        found.map_or(Ok(()), Err)
    }
}

/// All orphans, in the order of their names.
async fn find(store: &Store, client: &Client) -> Result<Vec<Orphan>> {
    let mut stored = store.names();
    let mut left = all_left(store, &stored);
    // Asked after the look: what was made meanwhile is known by now.
    let (known, storage) = listed(client).await?;
    stored.retain(|id, _| storage.contains(id));
    // A monitor alone is on its way out: it outlives a container that was removed by a moment.
    left.retain(|id, left| !known.contains(id) && (!left.processes.is_empty() || stored.contains_key(id)));
    // Storage alone may be that of one that is just being made, or removed.
    if left.values().any(|left| left.processes.is_empty()) {
        let (known, storage) = listed(client).await?;
        left.retain(|id, left| !known.contains(id) && (!left.processes.is_empty() || storage.contains(id)));
    }
    let mut orphans: Vec<Orphan> = left.into_iter().map(|(id, left)| orphan(store, id, left)).collect();
    orphans.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
    Ok(orphans)
}

fn orphan(store: &Store, id: String, left: Left) -> Orphan {
    let usual = store.folder(&id).join("userdata");
    let bundle = left.monitor.as_ref().map_or(usual.as_path(), |monitor| &monitor.bundle);
    let volumes = store.volumes(bundle);
    let mut processes = left.processes;
    processes.sort_unstable();
    Orphan { name: left.name.unwrap_or_else(|| id.clone()), id, processes, volumes }
}
