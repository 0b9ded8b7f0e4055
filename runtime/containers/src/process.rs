//! The process driver: native programs, each under a shim of the same binary that outlives mcrun. What is seen as live
//! is what the shim runs, not what was asked for: a folder that was edited by hand counts from the next start.

mod attach;
mod exec;
mod live;
mod logs;
mod record;
mod shim;
mod supervise;
mod users;
mod view;

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use effect::{Code, Error, Result};
use tokio::sync::mpsc;
use tokio::time::sleep;

use self::record::{Folder, Identity, Phase, Program, Status};
use crate::attach::{Attach, Attached};
use crate::cgroup;
use crate::diff::FieldDiff;
use crate::driver::{Driver, Exec, ExecOutput, LogLine, LogQuery};
use crate::features::Feature;
use crate::observed::{ImageDefaults, Observed, State};
use crate::secrets::{Reader, Store};
use crate::spec::{DEFAULT_STOP_TIMEOUT, Secrets, Spec, signal_name, signal_number};

pub(crate) use shim::DEFAULT_PATH;
pub use shim::shim_main;
pub(crate) use view::{behind, obstacle, resolved};

const NAME: &str = "process";
const ALWAYS: [Feature; 10] = [
    Feature::Exec,
    Feature::Secrets,
    Feature::SamePathVolumes,
    Feature::Ports,
    Feature::UdpPorts,
    Feature::HostNetwork,
    Feature::Terminal,
    Feature::UpdateRestart,
    Feature::UpdateStop,
    Feature::UpdateLabels,
];
const WITH_CGROUPS: [Feature; 5] =
    [Feature::Cpus, Feature::Memory, Feature::UpdateCpus, Feature::UpdateMemory, Feature::LiftLimits];
const WITH_NAMESPACES: [Feature; 4] =
    [Feature::Volumes, Feature::ReadOnlyVolumes, Feature::NoNetwork, Feature::ReadOnly];
const SETTLE: Duration = Duration::from_millis(30);
const LAST_LINES: usize = 10;

/// Where native programs are kept and what supervises them.
#[derive(Debug, Clone)]
pub struct Options {
    /// The state directory; programs are kept in `process` beneath it.
    pub state_dir: PathBuf,
    /// The binary whose hidden command `shim` calls [`shim_main`].
    pub shim: PathBuf,
    /// The most bytes of one of the three log files of a program.
    pub log_bytes: u64,
}

impl Options {
    /// The usual options: logs of three times 10 MiB.
    #[must_use]
    pub fn new(state_dir: PathBuf, shim: PathBuf) -> Self {
        Self { state_dir, shim, log_bytes: 10 << 20 }
    }
}

/// The driver.
pub struct Process {
    options: Options,
    /// Keeps apart the secrets and groups of several state directories.
    realm: String,
}

impl Process {
    /// A driver for the programs of one state directory.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let digest = blake3::hash(options.state_dir.as_os_str().as_encoded_bytes()).to_hex();
        Self { options, realm: format!("process-{}", &digest[..12]) }
    }

    fn home(&self) -> PathBuf {
        self.options.state_dir.join("process")
    }

    fn folder(&self, name: &str) -> Folder {
        Folder::new(self.home().join(name))
    }

    fn store(&self, name: &str) -> Store {
        Store::new(&self.realm, name)
    }

    /// The folder of an existing program; names that are none never reach the file system.
    fn existing(&self, name: &str) -> Result<Option<(Folder, Program)>> {
        if !crate::spec::is_name(name) {
            return Ok(None);
        }
        let folder = self.folder(name);
        let program = folder.wanted().map_err(|cause| broken(name, cause))?;
        Ok(program.map(|program| (folder, program)))
    }

    fn known(&self, name: &str) -> Result<(Folder, Program)> {
        self.existing(name)?.ok_or_else(|| unknown(name))
    }

    /// What the shim runs, of a program that runs, and the process that it is.
    fn running(&self, name: &str) -> Result<(Program, Identity)> {
        let (folder, _) = self.known(name)?;
        let running = folder.running().map_err(|cause| broken(name, cause))?;
        let status = folder.status().map_err(|cause| broken(name, cause))?;
        let leader = status.and_then(|status| status.program);
        running.zip(leader).filter(|_| folder.is_supervised()).ok_or_else(|| {
            Error::new(Code::EngineFailed, format!("`{name}` does not run"))
                .hint(format!("`{name}` has to run; start it first"))
        })
    }

    fn observe(&self, name: &str) -> Result<Option<Observed>> {
        let Some((folder, wanted)) = self.existing(name)? else { return Ok(None) };
        let status = folder.status().map_err(|cause| broken(name, cause))?;
        let is_supervised = folder.is_supervised();
        let running =
            if is_supervised { folder.running().map_err(|cause| broken(name, cause))? } else { None };
        Ok(Some(self.observed(running.unwrap_or(wanted), status, is_supervised)))
    }

    fn observed(&self, program: Program, status: Option<Status>, is_supervised: bool) -> Observed {
        let state = state(status.as_ref(), is_supervised);
        let live = program.group.as_deref().filter(|_| state == State::Running).and_then(cgroup::limits);
        let (memory, cpus) =
            live.map_or((program.memory, program.cpus), |limits| (limits.memory, limits.cpus));
        let store = self.store(&program.name);
        let mut secrets = program.secrets;
        secrets.retain(|name, _| store.path(name).exists());
        let mut volumes = program.volumes;
        volumes.sort();
        let process = status.as_ref().and_then(|status| status.program).filter(|_| state == State::Running);
        Observed {
            id: program.name.clone(),
            name: program.name,
            driver: NAME.to_owned(),
            state,
            exit_code: status
                .as_ref()
                .filter(|_| state != State::Running)
                .and_then(|status| status.exit_code),
            pid: process.and_then(|identity| u32::try_from(identity.pid).ok()),
            started_at: status.as_ref().and_then(|status| status.started_at.clone()),
            restarts: status.as_ref().map_or(0, |status| status.restarts),
            managed: true,
            adopted: false,
            service: Some(program.service),
            image: None,
            image_id: None,
            native: true,
            argv: program.argv,
            env: program.env,
            secrets,
            origins: program.origins,
            volumes,
            ports: program.ports,
            network: if program.no_network { "none" } else { "host" }.to_owned(),
            user: program.user.unwrap_or_default(),
            restart: program.restart,
            labels: program.labels,
            cpus,
            memory,
            health: program.health,
            stop_signal: signal_name(program.stop_signal),
            stop_timeout: program.stop_timeout,
            read_only: program.read_only,
            workdir: program.workdir.unwrap_or_default(),
            privileged: false,
            devices: Vec::new(),
            cap_add: Vec::new(),
            capabilities: Vec::new(),
        }
    }

    /// What the shim is told for `spec`.
    fn program(&self, spec: &Spec, secrets: &Secrets) -> Program {
        let store = self.store(&spec.name);
        let mut env = spec.env.clone();
        for name in secrets.keys() {
            env.insert(format!("{name}_FILE"), store.path(name).to_string_lossy().into_owned());
        }
        Program {
            name: spec.name.clone(),
            argv: spec.exec.clone().unwrap_or_default(),
            env,
            workdir: spec.workdir.clone(),
            user: spec.user.clone(),
            restart: spec.restart_or_default(),
            stop_signal: spec.stop_signal.as_deref().and_then(signal_number).unwrap_or(libc::SIGTERM),
            stop_timeout: spec.stop_timeout.unwrap_or(DEFAULT_STOP_TIMEOUT),
            labels: spec.labels.clone(),
            service: spec.service_name().to_owned(),
            health: spec.health.clone(),
            ports: spec.published_ports(),
            volumes: spec.mounts().unwrap_or_default().iter().map(ToString::to_string).collect(),
            read_only: spec.read_only == Some(true),
            no_network: has_no_network(spec),
            secrets: secrets.iter().map(|(name, material)| (name.clone(), material.tag.clone())).collect(),
            origins: secrets.iter().map(|(name, material)| (name.clone(), material.origin.clone())).collect(),
            cpus: spec.cpus,
            memory: spec.memory,
            group: cgroup::service_group(&format!("{}-{}", self.realm, spec.name)),
            shims_group: cgroup::service_group("shims"),
            log_bytes: self.options.log_bytes,
        }
    }

    fn write_secrets(&self, spec: &Spec, secrets: &Secrets) -> Result<()> {
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let user = user(spec)?.map_or(own, |user| (user.user, user.group));
        let store = self.store(&spec.name);
        store.write(secrets, Reader::User(user.0, user.1))?;
        if user != own && !secrets.is_empty() {
            store.open_path().map_err(|cause| broken(&spec.name, cause))?;
        }
        Ok(())
    }

    /// Fails where a program that was just started is down again.
    async fn settle(&self, name: &str) -> Result<Observed> {
        sleep(SETTLE).await;
        let observed = self.observe(name)?.ok_or_else(|| unknown(name))?;
        if observed.state == State::Running && observed.restarts == 0 {
            return Ok(observed);
        }
        let code = observed.exit_code.map_or_else(String::new, |code| format!(" with exit code {code}"));
        let mut error = Error::new(Code::ExitedEarly, format!("`{name}` ended right after its start{code}"));
        let lines = self.logs(name, &LogQuery::tail(LAST_LINES)).await.unwrap_or_default();
        error.details = lines.into_iter().map(|line| line.line).collect();
        Err(error)
    }
}

#[async_trait]
impl Driver for Process {
    fn name(&self) -> &'static str {
        NAME
    }

    fn place(&self) -> String {
        self.home().display().to_string()
    }

    fn features(&self) -> &'static [Feature] {
        static FEATURES: OnceLock<Vec<Feature>> = OnceLock::new();
        FEATURES.get_or_init(|| {
            let mut features = ALWAYS.to_vec();
            if rustix::process::geteuid().is_root() {
                features.push(Feature::User);
            }
            if cgroup::can_limit() {
                features.extend(WITH_CGROUPS);
            }
            if obstacle().is_none() {
                features.extend(WITH_NAMESPACES);
            }
            features
        })
    }

    fn check(&self, spec: &Spec) -> Result<()> {
        crate::features::check(NAME, self.features(), spec)?;
        check_network(spec)
    }

    fn check_node(&self, spec: &Spec, is_planned: &(dyn Fn(&Path) -> bool + Sync)) -> Result<()> {
        user(spec)?;
        let mounts = spec.mounts()?;
        let argv0 = Path::new(spec.exec.iter().flatten().next().map_or("", String::as_str));
        let program = behind(&mounts, argv0);
        if !is_planned(argv0) && !is_planned(&program) {
            check_program(&spec.name, &program)?;
        }
        view::check(&mounts, spec.read_only == Some(true), is_planned)
    }

    async fn image_defaults(&self, _image: &str) -> Result<Option<ImageDefaults>> {
        Ok(None)
    }

    async fn inspect(&self, name: &str) -> Result<Option<Observed>> {
        self.observe(name)
    }

    async fn list(&self) -> Result<Vec<Observed>> {
        let entries = match fs::read_dir(self.home()) {
            Ok(entries) => entries,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(cause) => return Err(broken("process", cause)),
        };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names.iter().filter_map(|name| self.observe(name).transpose()).collect()
    }

    async fn create(&self, spec: &Spec, _image: Option<&ImageDefaults>, secrets: &Secrets) -> Result<()> {
        let name = &spec.name;
        let program = self.program(spec, secrets);
        check_recorded(&program)?;
        let folder = self.folder(name);
        if folder.is_supervised() {
            return Err(Error::new(Code::EngineFailed, format!("a native program `{name}` runs already")));
        }
        let failed = |cause: std::io::Error| broken(name, cause);
        fs::DirBuilder::new().mode(0o700).recursive(true).create(folder.path()).map_err(failed)?;
        // What an earlier one left must end before its record is forgotten.
        supervise::sweep(&folder, &program).await?;
        folder.forget().map_err(failed)?;
        self.write_secrets(spec, secrets)?;
        folder.set_wanted(&program).map_err(failed)
    }

    async fn update(&self, name: &str, fields: &[FieldDiff], spec: &Spec) -> Result<()> {
        if fields.iter().all(|field| field.path == "state") {
            return Ok(());
        }
        let (folder, mut program) = self.known(name)?;
        let wanted = self.program(spec, &Secrets::new());
        program.restart = wanted.restart;
        program.stop_signal = wanted.stop_signal;
        program.stop_timeout = wanted.stop_timeout;
        program.labels = wanted.labels;
        program.service = wanted.service;
        program.health = wanted.health;
        program.memory = wanted.memory;
        program.cpus = wanted.cpus;
        folder.set_wanted(&program).map_err(|cause| broken(name, cause))?;
        supervise::reread(&folder, &program).await
    }

    async fn start(&self, name: &str) -> Result<Observed> {
        let (folder, program) = self.known(name)?;
        if supervise::is_steady(&folder).await {
            return self.observe(name)?.ok_or_else(|| unknown(name));
        }
        supervise::sweep(&folder, &program).await?;
        check_recorded(&program)?;
        if let Some(error) = crate::ports::occupied(name, &program.ports) {
            return Err(error);
        }
        folder.forget().map_err(|cause| broken(name, cause))?;
        supervise::start(&self.options.shim, &folder, name).await?;
        self.settle(name).await
    }

    async fn stop(&self, name: &str, timeout: Option<Duration>) -> Result<()> {
        let Some((folder, program)) = self.existing(name)? else { return Ok(()) };
        supervise::stop(&folder, &program, timeout).await
    }

    async fn remove(&self, name: &str, force: bool) -> Result<()> {
        let Some((folder, program)) = self.existing(name)? else { return Ok(()) };
        if folder.is_supervised() && !force {
            return Err(Error::new(Code::EngineFailed, format!("`{name}` runs; stop it first")));
        }
        supervise::stop(&folder, &program, force.then_some(Duration::ZERO)).await?;
        self.store(name).clear()?;
        if let Some(group) = &program.group {
            cgroup::remove(group);
        }
        // Without its spec the program is gone, whatever else a cut-off removal leaves in the folder.
        let removed =
            fs::remove_file(folder.path().join("spec.json")).and_then(|()| fs::remove_dir_all(folder.path()));
        match removed {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(broken(name, cause)),
            _ => Ok(()),
        }
    }

    async fn logs(&self, name: &str, query: &LogQuery) -> Result<Vec<LogLine>> {
        let (folder, _) = self.known(name)?;
        logs::read(&folder, query).map_err(|cause| broken(name, cause))
    }

    async fn follow(&self, name: &str, query: &LogQuery) -> Result<mpsc::Receiver<LogLine>> {
        let (folder, _) = self.known(name)?;
        logs::follow(folder, query).map_err(|cause| broken(name, cause))
    }

    async fn exec(&self, name: &str, exec: &Exec) -> Result<ExecOutput> {
        let (program, leader) = self.running(name)?;
        exec::run(&program, leader, exec).await
    }

    async fn attach(&self, name: &str, attach: &Attach) -> Result<Attached> {
        let (program, leader) = self.running(name)?;
        attach::run(&program, leader, attach)
    }

    async fn ping(&self) -> Result<String> {
        check_program(NAME, &self.options.shim)?;
        Ok(env!("CARGO_PKG_VERSION").to_owned())
    }
}

fn state(status: Option<&Status>, is_supervised: bool) -> State {
    match (status, is_supervised) {
        (None, false) => State::Created,
        // The shim has not told anything yet: it is about to start its program.
        (None, true) => State::Restarting,
        (Some(_), false) => State::Exited,
        (Some(status), true) => match status.phase {
            Phase::Running => State::Running,
            Phase::Waiting => State::Restarting,
            Phase::Stopping => State::Stopping,
            Phase::Ended => State::Exited,
        },
    }
}

fn check_program(name: &str, program: &Path) -> Result<()> {
    let missing = |cause: &dyn std::fmt::Display| {
        Error::new(Code::ProgramMissing, format!("`{name}` cannot run `{}`", program.display()))
            .because(cause)
    };
    let metadata = fs::metadata(program).map_err(|cause| missing(&cause))?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        return Err(missing(&"it is not an executable file"));
    }
    Ok(())
}

/// The same for what is recorded, together with what it mounts.
fn check_recorded(program: &Program) -> Result<()> {
    let mounts = view::mounts(program)
        .map_err(|problem| Error::new(Code::EngineFailed, format!("`{}`: {problem}", program.name)))?;
    view::check(&mounts, program.read_only, &|_| false)?;
    let argv0 = Path::new(program.argv.first().map_or("", String::as_str));
    check_program(&program.name, &behind(&mounts, argv0))
}

fn has_no_network(spec: &Spec) -> bool {
    spec.network.as_deref() == Some("none")
}

/// Nobody outside reaches a program without a network.
fn check_network(spec: &Spec) -> Result<()> {
    if !has_no_network(spec) {
        return Ok(());
    }
    let wrong = |text: &str| Err(Error::new(Code::Argument, text));
    if !spec.ports.is_empty() {
        return wrong("ports: nothing can be published of a program with `network = \"none\"`");
    }
    if spec.health.as_ref().is_some_and(|health| health.exec.is_none()) {
        return wrong("health: a program with `network = \"none\"` is probed from inside only, by `exec`");
    }
    Ok(())
}

fn user(spec: &Spec) -> Result<Option<users::User>> {
    let resolved = spec.user.as_deref().map(users::resolve).transpose();
    resolved.map_err(|problem| Error::new(Code::Argument, format!("user: {problem}")))
}

/// The numbers of the user that `spec` names; none where it names none.
pub(crate) fn numbers_of(spec: &Spec) -> Result<Option<(u32, u32)>> {
    Ok(user(spec)?.map(|user| (user.user, user.group)))
}

fn unknown(name: &str) -> Error {
    Error::new(Code::ContainerUnknown, format!("there is no native program `{name}`"))
}

fn broken(name: &str, cause: std::io::Error) -> Error {
    Error::new(Code::EngineFailed, format!("the files of `{name}` cannot be used")).because(cause)
}
