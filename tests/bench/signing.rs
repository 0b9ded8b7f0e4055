//! Sign-ins over HTTPS against a daemon that serves, while others ask it for something else: by REST over a connection that they
//! keep, and by gRPC over its socket. The baseline is the same calls of the same run without sign-ins.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ::daemon::api::client::{Client, request};
use api::v1::ListRunsRequest;
use bytes::Bytes;
use effect::{Code, Sealer};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use journal::{Journal, SystemClock};
use peer::{Answer, Kind, Limits, Question};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::load::port;
use crate::mcias::{EACH, PASSWORD, PEOPLE, SIGN_INS, everybody_is_let_in, person, service, thread};
use crate::whole::command;
use crate::{Row, millis, ratio};

const KIND: Kind = Kind {
    name: "mcias",
    unavailable: Code::ApiUnavailable,
    refused: Code::ApiUnavailable,
    garbage: Code::ApiUnavailable,
};
const LIMITS: Limits =
    Limits { connect: Duration::from_secs(10), answer: Duration::from_secs(30), largest: 1 << 20 };
const NODE: &str = "bench";
const PATIENCE: Duration = Duration::from_secs(60);
/// For how long the calls of others are looked at without sign-ins.
const QUIET: Duration = Duration::from_secs(5);
/// Between two calls of each of the others.
const PAUSE: Duration = Duration::from_millis(2);

/// A daemon with people who may sign in.
struct Served {
    state: TempDir,
    daemon: Child,
    url: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        // One that has ended already cannot be ended again.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

impl Served {
    fn new(program: &Path) -> Self {
        let state = tempfile::tempdir().unwrap();
        let at = port();
        let url = format!("https://localhost:{}", at.port());
        // As behind a proxy on this machine: everybody comes from an address of their own.
        let settings = format!(
            "[node]\nname = \"{NODE}\"\n[mcias]\nlisten = \"{at}\"\nurl = \"{url}\"\nproxies = [\"127.0.0.1\"]\n"
        );
        fs::write(state.path().join("mcrun.toml"), settings).unwrap();
        thread().block_on(async {
            let journal = Journal::open(state.path(), Arc::new(SystemClock)).unwrap();
            let sealer = Arc::new(Sealer::open(state.path()).unwrap());
            let service = service(&journal, &sealer, NODE);
            everybody_is_let_in(&service).await;
            for number in 0..PEOPLE {
                person(&service, &format!("person-{number}")).await;
            }
        });
        let daemon = command(program, state.path(), &[OsStr::new("serve")]).spawn().unwrap();
        let served = Self { state, daemon, url };
        let begin = Instant::now();
        while !served.socket().exists() || std::net::TcpStream::connect(at).is_err() {
            assert!(begin.elapsed() < PATIENCE, "mcrun serve does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        let words = ["certs", "ca", "bundle"].map(OsStr::new);
        let mut bundle = command(program, served.state.path(), &words);
        let roots = bundle.stdout(Stdio::piped()).output().unwrap();
        assert!(roots.status.success(), "{bundle:?}");
        fs::write(served.roots(), roots.stdout).unwrap();
        served
    }

    fn socket(&self) -> PathBuf {
        self.state.path().join("daemon.sock")
    }

    fn roots(&self) -> PathBuf {
        self.state.path().join("roots.pem")
    }

    /// A client without a connection yet, as a browser that comes for the first time.
    fn client(&self) -> peer::Client {
        peer::Client::new(KIND, LIMITS, Some(self.roots()))
    }

    async fn ask(&self, client: &peer::Client, from: u32, mut question: Question) -> Answer {
        let from = format!("198.51.{}.{}", 100 + from / 250, from % 250 + 1);
        question.headers.insert("x-forwarded-for", HeaderValue::from_str(&from).unwrap());
        client.exchange(&question).await.map_err(|failure| failure.error).unwrap()
    }

    fn question(&self, method: Method, path: &str) -> Question {
        Question::new(method, format!("{}{path}", self.url).parse().unwrap())
    }

    /// The token that somebody is given; none where the queue is full.
    async fn sign_in(&self, number: u32, service: &str) -> Option<String> {
        let wish = json!({ "name": format!("person-{}", number % PEOPLE), "password": PASSWORD, "service": service });
        let mut question = self.question(Method::POST, "/v1/login");
        question.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        question.body = Bytes::from(wish.to_string());
        let answer = self.ask(&self.client(), number, question).await;
        let told: Value = serde_json::from_slice(&answer.body).unwrap();
        Some(told["token"].as_str()?.to_owned())
    }

    /// How many a second there were, one begun each [`EACH`].
    async fn sign_ins(&self) -> f64 {
        let begin = Instant::now();
        let all = (0..SIGN_INS).map(|number| async move {
            tokio::time::sleep_until((begin + EACH * number).into()).await;
            self.sign_in(number, "mcq").await.is_some()
        });
        let let_in = futures_util::future::join_all(all).await.into_iter().filter(|is_in| *is_in).count();
        f64::from(u32::try_from(let_in).unwrap()) / begin.elapsed().as_secs_f64()
    }

    /// Somebody who asks by REST who he is, until `is_over`.
    async fn by_rest(&self, token: &str, is_over: impl Fn() -> bool) -> Times {
        let client = self.client();
        let mut bearer = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        bearer.set_sensitive(true);
        let mut number = 0;
        Times::of(is_over, async || {
            let mut question = self.question(Method::GET, "/v1/whoami");
            question.headers.insert(AUTHORIZATION, bearer.clone());
            // As a service does that asks for many: no rate of one address is what is measured.
            number += 1;
            let answer = self.ask(&client, 1000 + number % 5000, question).await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        })
        .await
    }

    /// Somebody who asks by gRPC which runs there are, until `is_over`.
    async fn by_grpc(&self, is_over: impl Fn() -> bool) -> Times {
        let client = Client::connect(&self.socket()).await.unwrap();
        Times::of(is_over, async || {
            let message = ListRunsRequest { page_size: 20, ..ListRunsRequest::default() };
            client.call(client.runs().list_runs(request(message))).await.unwrap();
        })
        .await
    }

    /// Both at once, on a thread of their own.
    fn others(&self, token: &str, is_over: impl Fn() -> bool) -> [Times; 2] {
        let (rest, grpc) =
            thread().block_on(async { tokio::join!(self.by_rest(token, &is_over), self.by_grpc(&is_over)) });
        [rest, grpc]
    }
}

/// How long calls took.
struct Times(Vec<Duration>);

impl Times {
    async fn of(is_over: impl Fn() -> bool, mut call: impl AsyncFnMut()) -> Self {
        // The first one opens the connection.
        call().await;
        let mut times = Vec::new();
        while !is_over() {
            tokio::time::sleep(PAUSE).await;
            let begin = Instant::now();
            call().await;
            times.push(begin.elapsed());
        }
        times.sort();
        assert!(times.len() >= 100, "{} calls say nothing of one in a hundred", times.len());
        Self(times)
    }

    fn percentile(&self, percent: usize) -> Duration {
        self.0[self.0.len() * percent / 100]
    }

    fn shown(&self) -> String {
        format!("p50 {}, p99 {}", millis(self.percentile(50)), millis(self.percentile(99)))
    }
}

pub(crate) fn rows(program: &Path) -> Vec<Row> {
    let served = Served::new(program);
    let token = thread().block_on(served.sign_in(0, "mcias")).expect("somebody is let in");
    let begin = Instant::now();
    let quiet = served.others(&token, || begin.elapsed() > QUIET);
    let is_over = AtomicBool::new(false);
    let (rate, busy) = std::thread::scope(|scope| {
        let others = scope.spawn(|| served.others(&token, || is_over.load(Ordering::Relaxed)));
        let rate = thread().block_on(served.sign_ins());
        is_over.store(true, Ordering::Relaxed);
        (rate, others.join().unwrap())
    });
    let whats = ["calls by REST during sign-ins over HTTPS", "calls by gRPC during sign-ins over HTTPS"];
    let row = |(what, (busy, quiet)): (&'static str, (&Times, &Times))| Row {
        what,
        measured: format!("{}; {rate:.1} sign-ins a second", busy.shown()),
        baseline: format!("without sign-ins {}", quiet.shown()),
        ratio: ratio(busy.percentile(99), quiet.percentile(99)),
        promise: "20 a second, p99 ≤ 10 ms",
    };
    whats.into_iter().zip(busy.iter().zip(&quiet)).map(row).collect()
}
