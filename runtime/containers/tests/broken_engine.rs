//! Engines that are broken or lie: every answer of podman and docker cut short, out of form, too large, of the wrong type.
//! Each call ends in time with a coded error or a value, and the driver goes on to work with a sound engine.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

#[path = "broken_engine/answers.rs"]
mod answers;
#[path = "broken_engine/fake.rs"]
mod fake;

use std::sync::Arc;
use std::time::{Duration, Instant};

use containers::{Driver, Exec, LogQuery, Secrets, Spec, docker, podman};
use effect::{Code, Error, Result};
use serde_json::Value;
use tempfile::TempDir;

use answers::{DOCUMENTS, broken_answers, mutations};
use fake::{Fake, Say};

/// What one call may take, the engine being quick in all that it says.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is said of a broken answer stays short, whatever the engine wrote.
const LONGEST_WORDS: usize = 8192;

struct Stage {
    _folder: TempDir,
    fake: Fake,
    driver: Arc<dyn Driver>,
}

impl Stage {
    fn new(engine: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("engine.sock");
        let fake = Fake::listen(&socket);
        let driver: Arc<dyn Driver> = match engine {
            "podman" => {
                let state_dir = folder.path().to_owned();
                Arc::new(podman::Podman::new(&podman::Options { socket: Some(socket), state_dir }))
            }
            _ => Arc::new(docker::Docker::new(&docker::Options { socket: Some(socket) })),
        };
        Self { _folder: folder, fake, driver }
    }

    /// Everything that a driver is asked to do, one after another.
    async fn everything(&self) -> Vec<(&'static str, Result<()>)> {
        let mut all = self.looks().await;
        all.extend(self.changes().await);
        all
    }

    async fn changes(&self) -> Vec<(&'static str, Result<()>)> {
        let driver = &self.driver;
        let spec: Spec = serde_json::from_value(
            serde_json::json!({ "name": "web", "image": "web:v1", "env": { "A": "1" } }),
        )
        .unwrap();
        let mut all = vec![
            ("create", driver.create(&spec, None, &Secrets::new()).await),
            ("start", driver.start("web").await.map(drop)),
            ("remove", driver.remove("web", true).await),
        ];
        if let Some(images) = driver.images() {
            all.push(("images.remove", images.remove("web:v1").await));
        }
        all
    }

    /// What reads a whole document, and takes no time of its own.
    async fn looks(&self) -> Vec<(&'static str, Result<()>)> {
        let driver = &self.driver;
        let exec = Exec { timeout: Duration::from_secs(2), ..Exec::new(vec!["true".to_owned()]) };
        let mut all = vec![
            ("ping", driver.ping().await.map(drop)),
            ("list", driver.list().await.map(drop)),
            ("inspect", driver.inspect("web").await.map(drop)),
            ("image_defaults", driver.image_defaults("web:v1").await.map(drop)),
            ("stop", driver.stop("web", Some(Duration::from_secs(1))).await),
            ("logs", driver.logs("web", &LogQuery::tail(10)).await.map(drop)),
            ("exec", driver.exec("web", &exec).await.map(drop)),
            ("stats", driver.stats("web").await.map(drop)),
        ];
        if let Some(images) = driver.images() {
            all.push(("images.inspect", images.inspect("web:v1").await.map(drop)));
            all.push(("images.list", images.list().await.map(drop)));
        }
        all
    }
}

fn check(what: &str, call: &str, error: &Error) {
    let known = [
        Code::EngineFailed,
        Code::EngineUnavailable,
        Code::ContainerUnknown,
        Code::ImageMissing,
        Code::ImageUnknown,
        Code::ProgramMissing,
        Code::PortOccupied,
        Code::ExitedEarly,
        Code::ForeignContainer,
        Code::TooLarge,
        Code::TimedOut,
        Code::Argument,
    ];
    assert!(known.contains(&error.code), "{what}: {call}: {error:?}");
    let words = error.message.len()
        + error.cause.as_deref().unwrap_or_default().len()
        + error.details.iter().map(String::len).sum::<usize>();
    assert!(words < LONGEST_WORDS, "{what}: {call}: {words} bytes of words");
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn try_all(
    calls: impl Future<Output = Vec<(&'static str, Result<()>)>>,
    what: &str,
    tried: &mut usize,
    refused: &mut usize,
) {
    let started = Instant::now();
    for (call, result) in calls.await {
        *tried += 1;
        if let Err(error) = result {
            *refused += 1;
            check(what, call, &error);
        }
    }
    assert!(started.elapsed() < PATIENCE, "{what}: took {:?}", started.elapsed());
}

async fn answers_sound_questions(stage: &Stage, what: &str) {
    stage.fake.say(Say::Sound);
    let listed = stage.driver.list().await;
    assert!(listed.is_ok(), "after {what}: {listed:?}");
}

#[tokio::test]
async fn a_fake_that_is_sound_is_taken_for_an_engine() {
    for engine in ["podman", "docker"] {
        let stage = Stage::new(engine);
        for (call, result) in stage.everything().await {
            assert!(result.is_ok(), "{engine}: {call}: {result:?}");
        }
    }
}

#[tokio::test]
async fn answers_out_of_form_are_no_more_than_an_error() {
    let (mut tried, mut refused) = (0, 0);
    for engine in ["podman", "docker"] {
        let stage = Stage::new(engine);
        answers_sound_questions(&stage, "nothing").await;
        let before = descriptors();
        for (name, bytes) in broken_answers() {
            let what = format!("{engine}: {name}");
            stage.fake.say(Say::Bytes(bytes));
            try_all(stage.everything(), &what, &mut tried, &mut refused).await;
            answers_sound_questions(&stage, &what).await;
        }
        stage.fake.until_idle().await;
        assert!(descriptors() <= before + 8, "{engine}: {} descriptors, once {before}", descriptors());
    }
    assert!(tried >= 600 && refused > tried / 2, "{refused} of {tried} were refused");
    assert!(memory() < 512 << 10, "{} KiB", memory());
}

#[tokio::test]
async fn documents_of_the_wrong_shape_are_no_more_than_an_error() {
    let (mut tried, mut refused) = (0, 0);
    for engine in ["podman", "docker"] {
        let stage = Stage::new(engine);
        for (path, document) in DOCUMENTS {
            let document: Value = serde_json::from_str(document).unwrap();
            for (place, changed) in mutations(&document) {
                let what = format!("{engine}: {path}{place}");
                stage.fake.say(Say::Instead(path, changed.to_string().into_bytes()));
                try_all(stage.looks(), &what, &mut tried, &mut refused).await;
            }
        }
        answers_sound_questions(&stage, engine).await;
    }
    assert!(tried >= 2000 && refused > 500, "{refused} of {tried} were refused");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_says_nothing_is_given_up() {
    for engine in ["podman", "docker"] {
        for say in [Say::Nothing, Say::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[".to_vec())] {
            let stage = Stage::new(engine);
            stage.fake.say_and_hold(say);
            for (call, result) in [
                ("ping", stage.driver.ping().await.map(drop)),
                ("list", stage.driver.list().await.map(drop)),
                ("remove", stage.driver.remove("web", true).await),
            ] {
                let error = result.expect_err(call);
                assert!(
                    matches!(error.code, Code::TimedOut | Code::EngineUnavailable),
                    "{engine}: {call}: {error:?}"
                );
            }
        }
    }
}
