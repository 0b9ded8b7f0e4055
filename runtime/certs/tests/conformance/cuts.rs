//! Attempts that are cut at any moment: the next one goes on, and there is one certificate in the end.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use async_trait::async_trait;
use certs::{Driver, Issued, Progress};
use effect::{Code, Result};
use futures_util::stream::{self, StreamExt as _};

use crate::bench::{Authority, Notes, Wanted, assert_failed, vault_parts, verify};
use crate::fake::{self, Server, answer, json, with};
use crate::openbao::OpenBao;
use crate::pebble::Pebble;

/// What comes of `future` unless it is dropped before, after `polls` steps of its own.
async fn cut<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// The steps of one attempt that nothing disturbs.
async fn steps(driver: &dyn Driver, wanted: &Wanted) -> usize {
    let steps = AtomicUsize::new(0);
    let mut issuing = pin!(wanted.issue(driver));
    poll_fn(|context| {
        steps.fetch_add(1, Ordering::Relaxed);
        issuing.as_mut().poll(context)
    })
    .await
    .unwrap();
    steps.into_inner()
}

/// Cuts an attempt after `polls` steps and goes on with the next one.
async fn cut_and_go_on(driver: &dyn Driver, polls: usize) -> (Wanted, Issued, bool) {
    let wanted = Wanted::new(&[&format!("cut{polls}.mcrun.test")]);
    let notes = Notes::default();
    let was_cut = match cut(wanted.go_on(driver, &notes), polls).await {
        Some(issued) => return (wanted, issued.unwrap(), false),
        None => true,
    };
    let issued = wanted.go_on(driver, &notes.next()).await.unwrap();
    (wanted, issued, was_cut)
}

#[tokio::test]
async fn an_acme_order_that_is_cut_anywhere_brings_one_certificate() {
    let pebble = Pebble::start(&[("PEBBLE_WFE_NONCEREJECT", "0")]).await;
    let driver = pebble.driver();
    // The first one makes the account as well.
    Wanted::new(&["account.mcrun.test"]).issue(driver).await.unwrap();
    let whole = steps(driver, &Wanted::new(&["whole.mcrun.test"])).await;
    let done: Vec<_> =
        stream::iter(1..=whole).map(|polls| cut_and_go_on(driver, polls)).buffer_unordered(4).collect().await;
    // How many steps an attempt takes depends on what else the machine does.
    assert!(done.iter().filter(|(_, _, was_cut)| *was_cut).count() > whole / 4);
    for (wanted, issued, _) in &done {
        verify(&pebble, wanted, issued, "sslserver");
    }
    assert_eq!(pebble.certificates(), whole + 2, "one certificate for each order");
}

#[tokio::test]
async fn a_vault_request_that_is_cut_anywhere_brings_one_certificate() {
    let bao = OpenBao::start().await;
    let driver = bao.driver();
    let whole = steps(driver, &Wanted::new(&["whole.mcrun.test"])).await;
    let done: Vec<_> =
        stream::iter(1..=whole).map(|polls| cut_and_go_on(driver, polls)).buffer_unordered(8).collect().await;
    assert!(done.iter().any(|(_, _, was_cut)| *was_cut));
    for (wanted, issued, _) in &done {
        verify(&bao, wanted, issued, "sslserver");
    }
    assert_eq!(bao.serials().len(), whole + 1, "one certificate for each request");
}

/// Notes that never become durable: the process dies while it writes the last of them.
struct Dying<'a>(&'a Notes, usize);

#[async_trait]
impl Progress for Dying<'_> {
    fn noted(&self) -> Option<&str> {
        self.0.noted()
    }

    async fn note(&self, text: &str) -> Result<()> {
        self.0.note(text).await?;
        if self.0.now.lock().unwrap().len() == self.1 {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

/// Ends the attempt at its note of this number; whether it came that far.
async fn dies_at_note(driver: &dyn Driver, wanted: &Wanted, notes: &Notes, number: usize) -> bool {
    let order = wanted.order();
    let dying = Dying(notes, number);
    let mut issuing = pin!(driver.issue(&order, &dying));
    poll_fn(|context| {
        if issuing.as_mut().poll(context).is_ready() {
            return Poll::Ready(false);
        }
        if notes.now.lock().unwrap().len() == number { Poll::Ready(true) } else { Poll::Pending }
    })
    .await
}

#[tokio::test]
async fn an_attempt_that_dies_at_its_note_is_gone_on_with() {
    let pebble = Pebble::start(&[]).await;
    let bao = OpenBao::start().await;
    for authority in [&pebble as &dyn Authority, &bao] {
        let driver = authority.driver();
        let wanted = Wanted::new(&["note.mcrun.test"]);
        let notes = Notes::default();
        assert!(dies_at_note(driver, &wanted, &notes, 1).await, "every driver notes something");
        let issued = wanted.go_on(driver, &notes.next()).await.unwrap();
        verify(authority, &wanted, &issued, "sslserver");
    }
    let orders = pebble.log().matches("Added order").count();
    assert_eq!((orders, pebble.certificates()), (1, 1), "{}", pebble.log());
}

#[tokio::test]
async fn an_order_that_was_carried_out_is_answered_again() {
    let pebble = Pebble::start(&[]).await;
    let wanted = Wanted::new(&["again.mcrun.test"]);
    let notes = Notes::default();
    let first = wanted.go_on(pebble.driver(), &notes).await.unwrap();
    let second = wanted.go_on(pebble.driver(), &notes.next()).await.unwrap();
    assert_eq!(first, second);
    let bao = OpenBao::start().await;
    let notes = Notes::default();
    let first = wanted.go_on(bao.driver(), &notes).await.unwrap();
    assert_eq!(first, wanted.go_on(bao.driver(), &notes.next()).await.unwrap());
}

#[tokio::test]
async fn a_request_whose_answer_was_lost_is_not_made_again() {
    let pebble = Pebble::start(&[]).await;
    let wanted = Wanted::new(&["lost.mcrun.test"]);
    let issued = wanted.issue(pebble.driver()).await.unwrap();
    let pem = certs::certificate::to_pem(&issued.chain);
    let server = Server::start(move |fake, path, _| match path {
        // Carried out, and then the answer is lost.
        "finalize" => answer(500, "the disk of the log is full"),
        "order" | "order/1" => {
            let status = if fake.count("finalize") == 0 { "ready" } else { "valid" };
            let order = serde_json::json!({
                "status": status, "authorizations": [], "finalize": fake.url("finalize"),
                "certificate": fake.url("certificate"),
            });
            with(json(201, &order), "Location", &fake.url("order/1"))
        }
        path => fake::acme(fake, path, &pem),
    })
    .await;
    let driver = crate::broken::acme(&server.url("dir"), pebble.folder.path());
    let notes = Notes::default();
    let error = assert_failed(wanted.go_on(&driver, &notes).await, Code::AuthorityUnavailable, "500");
    assert!(error.retryable);
    assert_eq!(wanted.go_on(&driver, &notes.next()).await.unwrap(), issued);
    let asked = server.asked.lock().unwrap().clone();
    let count = |wanted: &str| asked.iter().filter(|path| *path == wanted).count();
    assert_eq!((count("order"), count("finalize")), (1, 1), "{asked:?}");
}

#[tokio::test]
async fn a_token_that_may_look_finds_what_was_signed_and_another_signs_again() {
    let bao = OpenBao::start().await;
    let signs = r#"path "pki/sign/web" { capabilities = ["update"] } path "pki/cert/ca_chain" { capabilities = ["read"] }"#;
    let looks =
        r#"path "pki/certs" { capabilities = ["list"] } path "pki/cert/*" { capabilities = ["read"] }"#;
    let wanted = Wanted::new(&["looked.mcrun.test"]);
    for (policy, rules, finds) in
        [("signer", signs.to_owned(), false), ("looker", format!("{signs} {looks}"), true)]
    {
        let parts = vault_parts(bao.token(policy, &rules));
        let driver = certs::vault::Client::new(bao.settings("web"), parts).unwrap();
        let notes = Notes::default();
        let first = wanted.go_on(&driver, &notes).await.unwrap();
        let second = wanted.go_on(&driver, &notes.next()).await.unwrap();
        verify(&bao, &wanted, &second, "sslserver");
        assert!(!finds || bao.serials().len() == 3, "{policy} signed again");
        assert!(finds || first != second, "{policy} cannot have found it");
    }
}

/// A clock an hour ahead.
struct Ahead;

impl journal::Clock for Ahead {
    fn now(&self) -> effect::Timestamp {
        crate::bench::now().after(std::time::Duration::from_secs(3600))
    }
}

#[tokio::test]
async fn an_older_certificate_of_the_same_key_is_not_taken_for_the_new_one() {
    let bao = OpenBao::start().await;
    let parts =
        certs::vault::Parts { clock: std::sync::Arc::new(Ahead), ..vault_parts(crate::openbao::TOKEN) };
    let driver = certs::vault::Client::new(bao.settings("web"), parts).unwrap();
    let wanted = Wanted::new(&["renewed.mcrun.test"]);
    let notes = Notes::default();
    // To this driver the certificate began an hour before it was asked for.
    let old = wanted.go_on(&driver, &notes).await.unwrap();
    let new = wanted.go_on(&driver, &notes.next()).await.unwrap();
    assert_ne!(old, new);
}
