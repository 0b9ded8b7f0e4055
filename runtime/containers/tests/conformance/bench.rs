//! What a test stands on: a driver, names of its own, the sequence of an `ensure`, and cleaning up.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use containers::docker::{self, Docker};
use containers::podman::Podman;
use containers::process::Process;
use containers::{
    Action, Diff, Driver, Exec, Feature, ImageDefaults, LogQuery, Observed, SecretMaterial, Secrets, Spec,
    podman, process,
};

use crate::dockerd;
pub(crate) use crate::image::{IMAGE, OTHER_IMAGE, write_image};

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Podman,
    Docker,
    Process,
    /// Native programs that see the machine otherwise than it is.
    Confined,
}

impl Kind {
    fn driver(self, dir: &Path) -> Arc<dyn Driver> {
        match self {
            Self::Podman => Arc::new(podman_driver()),
            Self::Docker => {
                let socket = Some(dockerd::socket().to_owned());
                Arc::new(Docker::new(&docker::Options { socket }))
            }
            Self::Process | Self::Confined => Arc::new(process_driver(dir, 10 << 20)),
        }
    }
}

pub(crate) struct Bench {
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) dir: tempfile::TempDir,
    kind: Kind,
    names: Mutex<Vec<String>>,
}

impl Bench {
    /// Podman with images of its own.
    pub(crate) fn podman() -> Self {
        prepare_podman();
        assert!(podman_driver().is_plausible(), "podman is missing: tests/install.sh installs it");
        Self::of(Kind::Podman)
    }

    /// Docker with a daemon and images of the tests' own.
    pub(crate) fn docker() -> Self {
        Self::of(Kind::Docker)
    }

    pub(crate) fn process() -> Self {
        Self::of(Kind::Process)
    }

    /// Native programs whose root is read-only, where this machine can do that.
    pub(crate) fn confined() -> Self {
        Self::of(Kind::Confined)
    }

    fn of(kind: Kind) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { driver: kind.driver(dir.path()), dir, kind, names: Mutex::default() }
    }

    /// Whether it runs images.
    pub(crate) fn is_engine(&self) -> bool {
        !matches!(self.kind, Kind::Process | Kind::Confined)
    }

    /// Whether it can give what `privileged` means here. Docker asks for every capability that the kernel has, and fails
    /// where this machine's own root lacks one.
    pub(crate) fn can_give_all_privileges(&self) -> bool {
        let read = |path: &str| fs::read_to_string(path).unwrap();
        let last: u32 = read("/proc/sys/kernel/cap_last_cap").trim().parse().unwrap();
        let status = read("/proc/self/status");
        let bound = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap().trim();
        let bound = u64::from_str_radix(bound, 16).unwrap();
        self.kind != Kind::Docker || bound == (1 << (last + 1)) - 1
    }

    /// What an operator types.
    pub(crate) fn engine(&self, words: &[&str]) -> String {
        match self.kind {
            Kind::Podman => podman_command(words),
            Kind::Docker => dockerd::command(words),
            Kind::Process | Kind::Confined => panic!("native programs have no engine"),
        }
    }

    /// A name that nobody else uses, removed at the end.
    pub(crate) fn name(&self, hint: &str) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name =
            format!("mcrun-test-{hint}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        self.names.lock().unwrap().push(name.clone());
        name
    }

    /// A container that runs `words`, which both kinds of driver find.
    pub(crate) fn running(&self, hint: &str, words: &[&str]) -> Spec {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let mut spec = Spec { name: self.name(hint), ..Spec::default() };
        if self.is_engine() {
            spec.image = Some(IMAGE.to_owned());
            spec.cmd = Some(words);
        } else {
            spec.exec = Some(words);
        }
        if self.kind == Kind::Confined && self.driver.features().contains(&Feature::ReadOnly) {
            spec.read_only = Some(true);
        }
        // Most programs here have no reason to end by themselves.
        spec.stop_timeout = Some(effect::units::Span::seconds(0));
        spec
    }

    pub(crate) fn sleeping(&self, hint: &str) -> Spec {
        self.running(hint, &["/bin/sleep", "1000"])
    }

    pub(crate) fn shell(&self, hint: &str, script: &str) -> Spec {
        self.running(hint, &["/bin/sh", "-c", script])
    }

    pub(crate) async fn image(&self, spec: &Spec) -> Option<ImageDefaults> {
        let image = spec.image.as_deref()?;
        let defaults = self.driver.image_defaults(image).await.unwrap();
        Some(defaults.unwrap_or_else(|| panic!("{image} is not there")))
    }

    pub(crate) async fn inspect(&self, spec: &Spec) -> Option<Observed> {
        self.driver.inspect(&spec.name).await.unwrap()
    }

    pub(crate) async fn diff(&self, spec: &Spec, secrets: &Secrets) -> Diff {
        let (image, observed) = (self.image(spec).await, self.inspect(spec).await);
        containers::diff(spec, image.as_ref(), observed.as_ref(), &tags(secrets), self.driver.features())
            .unwrap()
    }

    /// The names of the fields that differ.
    pub(crate) async fn differences(&self, spec: &Spec, secrets: &Secrets) -> Vec<String> {
        self.diff(spec, secrets).await.fields.into_iter().map(|field| field.path).collect()
    }

    /// What the effect `containers.ensure` does with a driver.
    pub(crate) async fn ensure(&self, spec: &Spec, secrets: &Secrets) -> effect::Result<Diff> {
        self.driver.check(spec)?;
        let diff = self.diff(spec, secrets).await;
        if diff.action == Action::Replace {
            self.driver.stop(&spec.name, None).await?;
            self.driver.remove(&spec.name, true).await?;
        }
        match diff.action {
            Action::None => return Ok(diff),
            Action::Update => self.driver.update(&spec.name, &diff.fields, spec).await?,
            Action::Create | Action::Replace => {
                self.driver.create(spec, self.image(spec).await.as_ref(), secrets).await?;
            }
        }
        self.driver.start(&spec.name).await?;
        Ok(diff)
    }

    pub(crate) async fn ensured(&self, spec: &Spec) -> Diff {
        self.ensure(spec, &Secrets::new()).await.unwrap()
    }

    pub(crate) async fn lines(&self, spec: &Spec) -> Vec<String> {
        let lines = self.driver.logs(&spec.name, &LogQuery::default()).await.unwrap();
        lines.into_iter().map(|line| line.line).collect()
    }

    pub(crate) async fn wait_for_line(&self, spec: &Spec, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.lines(spec).await.iter().any(|line| line == wanted) {
            assert!(Instant::now() < deadline, "`{wanted}` was never written: {:?}", self.lines(spec).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn wait_until(
        &self,
        spec: &Spec,
        what: &str,
        is_so: impl Fn(&Observed) -> bool,
    ) -> Observed {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let observed = self.inspect(spec).await.unwrap();
            if is_so(&observed) {
                return observed;
            }
            assert!(Instant::now() < deadline, "never became {what}: {observed:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Output of a shell command inside.
    pub(crate) async fn inside(&self, spec: &Spec, script: &str) -> String {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let output = self.driver.exec(&spec.name, &Exec::new(argv)).await.unwrap();
        assert_eq!(output.code, 0, "{script}: {output:?}");
        output.stdout.trim_end().to_owned()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let names = std::mem::take(&mut *self.names.lock().unwrap());
        let (kind, dir) = (self.kind, self.dir.path().to_owned());
        // Its own runtime on its own thread: the test's may be unwinding.
        let cleaning = std::thread::spawn(move || {
            let driver = kind.driver(&dir);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                for name in names {
                    let _ = driver.remove(&name, true).await;
                }
            });
        });
        let _ = cleaning.join();
    }
}

pub(crate) fn podman_driver() -> Podman {
    let state_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("podman");
    Podman::new(&podman::Options { socket: None, state_dir })
}

pub(crate) fn process_driver(dir: &Path, log_bytes: u64) -> Process {
    Process::new(process::Options { log_bytes, ..process::Options::new(dir.to_owned(), shim()) })
}

/// The example `shim`, which cargo builds along with the tests.
pub(crate) fn shim() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let shim = test.parent().unwrap().parent().unwrap().join("examples/shim");
    assert!(shim.exists(), "{} is missing: run `cargo build --examples`", shim.display());
    shim
}

pub(crate) fn secrets(pairs: &[(&str, &str)]) -> Secrets {
    let materials = pairs.iter().map(|(name, value)| {
        let value = value.as_bytes().to_vec();
        let tag = format!("tag-{}", value.iter().map(|byte| u32::from(*byte)).sum::<u32>());
        let origin = effect::Sealer::ephemeral().hide(name.as_bytes());
        ((*name).to_owned(), SecretMaterial { value: value.into(), tag, origin })
    });
    materials.collect()
}

pub(crate) fn tags(secrets: &Secrets) -> BTreeMap<String, String> {
    secrets.iter().map(|(name, material)| (name.clone(), material.tag.clone())).collect()
}

/// A port that nothing listened on a moment ago.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[expect(clippy::disallowed_methods, reason = "a test drives the engine from outside, as an operator does")]
pub(crate) fn podman_command(args: &[&str]) -> String {
    let output = std::process::Command::new("podman").args(args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "podman {args:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Points podman at the configuration of the tests and builds their images once.
fn prepare_podman() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let configuration = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/containers.conf");
        // SAFETY: no other thread of this test changes or reads the environment by other means than std's.
        unsafe { std::env::set_var("CONTAINERS_CONF", configuration) };
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let lock = fs::File::create(dir.join("image.lock")).unwrap();
        lock.lock().unwrap();
        if !has_image(OTHER_IMAGE) {
            build_images(dir);
        }
    });
}

/// Asked of this image alone: a list of all fails while another test removes one of its own.
#[expect(clippy::disallowed_methods, reason = "a test drives the engine from outside, as an operator does")]
fn has_image(tag: &str) -> bool {
    std::process::Command::new("podman").args(["image", "exists", tag]).status().unwrap().success()
}

fn build_images(dir: &Path) {
    for (tag, content) in [(IMAGE, "one"), (OTHER_IMAGE, "two")] {
        let context = dir.join("image");
        write_image(&context, content);
        podman_command(&["build", "--no-cache", "--quiet", "--tag", tag, &context.to_string_lossy()]);
    }
}
