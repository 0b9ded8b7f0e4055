//! What comes back to mcias from elsewhere: a browser that was sent to another issuer, and what that issuer says.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use effect::{Result, Sealer, Timestamp};
use http::header::{COOKIE, HOST, LOCATION, SET_COOKIE};
use http::{Request, Response, StatusCode};
use journal::{Clock, Journal};
use mcias::embedded::Parts;
use mcias::external::{External, Provider, Sort};
use mcias::{Embedded, Settings, Web};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

/// A set of keys and, after a NUL, an ID token.
pub fn id_token(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let token = bytes.get(end + 1..).unwrap_or_default();
    mcias::external::fuzz::id_token(&bytes[..end], &String::from_utf8_lossy(token));
}

/// The query with which a browser comes back; `{state}` in it is the one that it was sent away with.
///
/// # Panics
/// When somebody is signed in by it, is sent to another site, or something fails within.
pub fn callback(bytes: &[u8]) {
    let Ok(query) = std::str::from_utf8(bytes) else { return };
    STAGE.with_borrow_mut(|stage| stage.get_or_insert_with(Stage::new).come_back(query));
}

thread_local! {
    static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
}

/// The service behind its addresses, and a provider that does not answer.
struct Stage {
    _folder: TempDir,
    runtime: Runtime,
    clock: Arc<Hands>,
    web: Web,
}

/// Goes on with each request, so that none is one too many of its address, and what is under way is soon over.
struct Hands(AtomicI64);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

struct Anything;

#[async_trait]
impl effect::Secrets for Anything {
    async fn reveal(&self, _: &str) -> Result<Zeroizing<Vec<u8>>> {
        Ok(Zeroizing::new(b"a client's secret".to_vec()))
    }

    fn may_go(&self, _: &str, _: &str) -> Result<bool> {
        Ok(true)
    }
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let clock = Arc::new(Hands(AtomicI64::new(1_800_000_000_000)));
        let settings = Settings { url: Some("https://mcias.example".into()), ..Settings::default() };
        let service = Embedded::new(Parts {
            journal: Journal::open(folder.path(), clock.clone()).unwrap(),
            node: "here".into(),
            sealer: Arc::new(Sealer::ephemeral()),
            settings,
            clock: clock.clone(),
            witness: Arc::new(mcias::witness::Unheard),
            live: Arc::default(),
        });
        // Nobody listens at port 1, so whoever gets as far as to the provider is told that it does not answer.
        let provider = Provider {
            kind: Sort::Github,
            title: None,
            client_id: "us".into(),
            client_secret: "github".into(),
            issuer: None,
            url: Some("http://127.0.0.1:1".into()),
            api: Some("http://127.0.0.1:1".into()),
            ca: None,
            match_email: true,
            create: true,
            roles: None,
            groups: [].into(),
        };
        let external = External::new(&[("github".parse().unwrap(), provider)].into(), Arc::new(Anything));
        let web = Web::new(Arc::new(service)).unwrap().with_external(external);
        Self { _folder: folder, runtime, clock, web }
    }

    fn ask(&self, path: &str, cookie: &str) -> Option<Response<Bytes>> {
        self.clock.0.fetch_add(15_000, Ordering::Relaxed);
        let request = Request::builder().uri(path).header(HOST, "mcias.example").header(COOKIE, cookie);
        // What is no address never gets here.
        let request = request.body(Bytes::new()).ok()?;
        Some(self.runtime.block_on(self.web.answer(request, ([192, 0, 2, 1], 1).into())))
    }

    fn come_back(&self, query: &str) {
        const MARK: &str = "{state}";
        let (mut query, mut cookie) = (query.to_owned(), String::from("a=b"));
        if query.contains(MARK) {
            let away = self.ask("/external/github?next=%2Faccount", "a=b").unwrap();
            assert_eq!(away.status(), StatusCode::SEE_OTHER);
            let address = away.headers()[LOCATION].to_str().unwrap();
            let state = address.split_once("state=").unwrap().1.split('&').next().unwrap();
            query = query.replace(MARK, state);
            let set = away.headers()[SET_COOKIE].to_str().unwrap();
            cookie = set.split(';').next().unwrap().to_owned();
        }
        let Some(answer) = self.ask(&format!("/external/github/callback?{query}"), &cookie) else { return };
        let status = answer.status();
        assert!(status.is_client_error(), "{status}: nobody has said who it is");
        assert!(!answer.headers().contains_key(LOCATION), "{query}");
        for set in answer.headers().get_all(SET_COOKIE) {
            let is_forgotten = set.to_str().unwrap().contains("Max-Age=0");
            assert!(is_forgotten, "{set:?}: nobody is signed in");
        }
    }
}
