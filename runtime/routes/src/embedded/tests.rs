//! The driver over a journal, with an edge that does as it is told.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use journal::SystemClock;
use serde_json::json;

use super::*;

/// An edge that serves whatever is recorded, unless it is told to refuse.
#[derive(Default)]
struct Obliging {
    refuses: AtomicBool,
    settled: Mutex<Vec<(String, bool)>>,
}

#[async_trait]
impl Gateway for Obliging {
    async fn is_there(&self) -> bool {
        true
    }

    async fn admit(&self, _: &Standing) -> Result<()> {
        Ok(())
    }

    async fn settle(&self, key: &Key, standing: Option<&Standing>, _: Duration) -> Result<()> {
        self.settled.lock().unwrap().push((key.to_string(), standing.is_some()));
        match self.refuses.load(Ordering::Relaxed) {
            true => Err(Error::new(Code::RoutePort, "the port is held by somebody")),
            false => Ok(()),
        }
    }

    async fn settle_proof(&self, id: &str, is_offered: bool) -> Result<()> {
        self.settled.lock().unwrap().push((id.to_owned(), is_offered));
        Ok(())
    }

    async fn drain(&self, _: &Key, _: Option<Backend>, _: Duration) -> Result<Option<Drained>> {
        Ok(None)
    }

    async fn figures(&self) -> Result<Vec<Figures>> {
        Ok(Vec::new())
    }
}

fn driver() -> (tempfile::TempDir, Arc<Obliging>, Embedded) {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), Arc::new(SystemClock)).unwrap();
    let settings = Settings { addresses: vec![[127, 0, 0, 1].into()], http: Some(80), ..Settings::default() };
    let edge = Arc::new(Obliging::default());
    let driver = Embedded::new(journal, "rift", settings, edge.clone());
    (folder, edge, driver)
}

fn route(path: &str, service: Option<&str>, backend: &str) -> Standing {
    let route = json!({
        "listen": 443, "hostname": "a.test", "path": path, "service": service, "backends": [backend],
    });
    serde_json::from_value(route).unwrap()
}

const ONE: &str = "127.0.0.1:1001";
const TWO: &str = "127.0.0.1:1002";

#[tokio::test]
async fn what_the_edge_refuses_is_put_back_as_it_was() {
    let (_folder, edge, driver) = driver();
    let (before, after) = (route("/", None, ONE), route("/", None, TWO));
    let key = before.route.key();
    edge.refuses.store(true, Ordering::Relaxed);
    assert_eq!(driver.put(&before).await.unwrap_err().code, Code::RoutePort);
    assert_eq!(driver.get(&key).await.unwrap(), None);
    edge.refuses.store(false, Ordering::Relaxed);
    driver.put(&before).await.unwrap();
    edge.refuses.store(true, Ordering::Relaxed);
    assert_eq!(driver.put(&after).await.unwrap_err().code, Code::RoutePort);
    assert_eq!(driver.get(&key).await.unwrap(), Some(before.clone()));
    // One that is recorded already is not taken away by an edge that cannot serve it.
    assert_eq!(driver.put(&before).await.unwrap_err().code, Code::RoutePort);
    assert_eq!(driver.get(&key).await.unwrap(), Some(before));
}

#[tokio::test]
async fn of_two_services_that_claim_a_name_at_once_one_has_it() {
    let (_folder, _edge, driver) = driver();
    let (one, two) = (route("/a", Some("one"), ONE), route("/b", Some("two"), TWO));
    let (first, second) = tokio::join!(driver.put(&one), driver.put(&two));
    let refused = match (first, second) {
        (Ok(()), Err(error)) | (Err(error), Ok(())) => error,
        both => panic!("{both:?}"),
    };
    assert_eq!(refused.code, Code::RouteClaimed);
    assert_eq!(driver.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_name_is_free_once_its_last_route_is_gone() {
    let (_folder, _edge, driver) = driver();
    let (root, api) = (route("/", Some("one"), ONE), route("/api", Some("one"), ONE));
    driver.put(&root).await.unwrap();
    driver.put(&api).await.unwrap();
    driver.remove(&root.route.key()).await.unwrap();
    let other = route("/", Some("two"), TWO);
    assert_eq!(driver.put(&other).await.unwrap_err().code, Code::RouteClaimed);
    driver.remove(&api.route.key()).await.unwrap();
    driver.remove(&api.route.key()).await.unwrap();
    driver.put(&other).await.unwrap();
    let rows = driver.store.journal().records("route-host", Some("rift")).await.unwrap();
    assert_eq!(rows.len(), 1);
}

#[tokio::test]
async fn without_an_address_nothing_is_recorded() {
    let (_folder, _edge, mut driver) = driver();
    driver.settings.addresses.clear();
    let wanted = route("/", None, ONE);
    assert_eq!(driver.put(&wanted).await.unwrap_err().code, Code::Config);
    driver.settings =
        Settings { ports: vec![8443], addresses: vec![[127, 0, 0, 1].into()], ..Settings::default() };
    assert_eq!(driver.put(&wanted).await.unwrap_err().code, Code::RoutePort);
    assert_eq!(driver.list().await.unwrap(), []);
}

#[tokio::test]
async fn a_proof_is_offered_until_it_is_withdrawn_or_too_old() {
    let (_folder, edge, driver) = driver();
    let proof = |token: &str| Proof::Http { token: token.into(), key_authorization: format!("{token}.key") };
    driver.offer(&proof("a")).await.unwrap();
    driver.offer(&proof("b")).await.unwrap();
    driver.withdraw(&proof("a")).await.unwrap();
    let names = async || {
        let rows = driver.store.journal().records(rows::PROOF, Some("rift")).await.unwrap();
        rows.into_iter().map(|row| row.name).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["http-01 b"]);
    assert_eq!(*edge.settled.lock().unwrap(), [("http-01 a".into(), true), ("http-01 b".into(), true)]);
    let old = proofs::Offered { proof: proof("b"), until: effect::Timestamp(1) };
    let row = journal::Write {
        kind: rows::PROOF.into(),
        node: "rift".into(),
        name: "http-01 b".into(),
        value: Some(json!(old).to_string()),
        expect: journal::Expect::Present,
    };
    driver.store.journal().write(vec![row]).await.unwrap();
    driver.offer(&proof("c")).await.unwrap();
    assert_eq!(names().await, ["http-01 c"]);
}
