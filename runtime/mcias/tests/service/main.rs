//! The embedded service as a whole: accounts, sign-in, second factors, tokens, and what attackers try on them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod attacks;
mod authenticator;
mod browser;
mod conformance;
mod external;
mod foreign;
mod hostile;
mod joining;
mod pages;
mod passkeys;
mod proxied;
mod remote;
mod rest;
mod sign_in;
mod sso;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use effect::{Code, Result, Sealer, Timestamp};
use journal::{Clock, Journal};
use mcias::driver::{Driver as _, Issued, Order};
use mcias::embedded::{Embedded, Parts};
use mcias::policy::{Rule, RuleSet};
use mcias::witness::{Actor, actor};
use mcias::{
    Account, Event, First, Kind, Live, Name, Outcome, Role, Second, Settings, SignIn, Status, Witness,
};

const PASSWORD: &str = "correct horse battery";
const START: i64 = 1_767_355_200_000;

/// A clock that stands still until it is told otherwise.
struct Hands(AtomicI64);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// Keeps what it is told.
#[derive(Default)]
struct Notes(Mutex<Vec<(Event, Option<Actor>)>>);

impl Notes {
    fn taken(&self) -> Vec<Event> {
        self.acted().into_iter().map(|(event, _)| event).collect()
    }

    /// With whoever did it.
    fn acted(&self) -> Vec<(Event, Option<Actor>)> {
        self.0.lock().unwrap().clone()
    }
}

#[async_trait]
impl Witness for Notes {
    async fn witness(&self, event: &Event) -> Result<()> {
        self.0.lock().unwrap().push((event.clone(), actor()));
        Ok(())
    }
}

/// A state directory with a service on it.
struct Place {
    folder: tempfile::TempDir,
    journal: Journal,
    sealer: Arc<Sealer>,
    clock: Arc<Hands>,
    notes: Arc<Notes>,
    live: Arc<Live>,
    service: Embedded,
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(Hands(AtomicI64::new(START)));
        let journal = Journal::open(folder.path(), clock.clone()).unwrap();
        let sealer = Arc::new(Sealer::open(folder.path()).unwrap());
        let (notes, live) = (Arc::new(Notes::default()), Arc::new(Live::default()));
        let service = Embedded::new(Parts {
            journal: journal.clone(),
            node: "here".into(),
            sealer: sealer.clone(),
            settings: Settings::default(),
            clock: clock.clone(),
            witness: notes.clone(),
            live: live.clone(),
        });
        Self { folder, journal, sealer, clock, notes, live, service }
    }

    /// The same state directory as another process sees it.
    fn elsewhere(&self) -> Embedded {
        let journal = Journal::open(self.folder.path(), self.clock.clone()).unwrap();
        Embedded::new(Parts {
            journal,
            node: "here".into(),
            sealer: self.sealer.clone(),
            settings: Settings::default(),
            clock: self.clock.clone(),
            witness: self.notes.clone(),
            live: Arc::default(),
        })
    }

    /// The same service with other settings.
    fn with(&self, change: impl FnOnce(&mut Settings)) -> Embedded {
        let mut settings = Settings::default();
        change(&mut settings);
        Embedded::new(Parts {
            journal: self.journal.clone(),
            node: "here".into(),
            sealer: self.sealer.clone(),
            settings,
            clock: self.clock.clone(),
            witness: self.notes.clone(),
            live: self.live.clone(),
        })
    }

    fn pass(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).unwrap();
        self.clock.0.fetch_add(millis, Ordering::Relaxed);
    }

    async fn account(&self, text: &str, kind: Kind, roles: &[Role]) -> Account {
        let mut account = Account::new(name(text), kind, START).unwrap();
        account.roles = roles.iter().copied().collect();
        self.service.put(None, Some(&account)).await.unwrap();
        account
    }

    /// A person who may sign in to `mcq`.
    async fn person(&self, text: &str) -> Account {
        let account = self.account(text, Kind::Human, &[Role::User]).await;
        self.service.set_password(&account, PASSWORD).await.unwrap();
        self.allow().await;
        account
    }

    /// Lets every user and every system account in to `mcq`.
    async fn allow(&self) {
        let set = name("main");
        if self.service.rules(&set).await.unwrap().is_some() {
            return;
        }
        let rules = vec![
            Rule { roles: [Role::User].into(), ..rule("users", true) },
            Rule { kind: Some(Kind::System), ..rule("services", true) },
        ];
        self.service.put_rules(None, Some(&RuleSet { name: set, rules })).await.unwrap();
    }

    async fn change(&self, account: &Account, how: impl FnOnce(&mut Account)) -> Account {
        let before = self.service.account(&account.name).await.unwrap().unwrap();
        let mut after = before.clone();
        how(&mut after);
        self.service.put(Some(&before), Some(&after)).await.unwrap();
        after
    }

    async fn sign_in(&self, who: &str, password: &str, second: Option<Second<'_>>) -> Outcome {
        let address = Some([192, 0, 2, 1].into());
        let wish = SignIn { name: who, first: First::Password(password), second, service: "mcq", address };
        self.service.sign_in(&wish).await.unwrap()
    }

    /// A token of somebody who signed in to `mcq`.
    async fn token(&self, who: &str) -> Issued {
        match self.sign_in(who, PASSWORD, None).await {
            Outcome::Token(issued) => *issued,
            other => panic!("{other:?}"),
        }
    }
}

fn rule(text: &str, allow: bool) -> Rule {
    Rule {
        name: name(text),
        priority: 100,
        allow,
        roles: BTreeSet::new(),
        accounts: Vec::new(),
        kind: None,
        groups: BTreeSet::new(),
        services: vec!["mcq".into()],
        service_tags: BTreeSet::new(),
        addresses: Vec::new(),
        times: Vec::new(),
        first_factors: BTreeSet::new(),
        second_factor: false,
    }
}

#[tokio::test]
async fn the_first_admin_is_made_once_and_can_sign_in() {
    let place = Place::new();
    let admin = place.service.init(&name("root"), PASSWORD).await.unwrap();
    assert!(admin.is_active_admin());
    let again = place.service.init(&name("other"), PASSWORD).await.unwrap_err();
    assert_eq!(again.code, Code::FirstAdmin);
    assert!(place.service.account(&name("other")).await.unwrap().is_none());
    let first = First::Password(PASSWORD);
    let wish = SignIn { name: "root", first, second: None, service: "mcrun", address: None };
    assert!(matches!(place.service.sign_in(&wish).await.unwrap(), Outcome::Token(_)));
    let wish = SignIn { service: "mcq", ..wish };
    assert!(matches!(place.service.sign_in(&wish).await.unwrap(), Outcome::Refused), "no rule, no entry");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_first_admins_at_once_there_is_one_with_its_own_password() {
    let place = Place::new();
    let services: Vec<Embedded> = (0..4).map(|_| place.elsewhere()).collect();
    let (names, passwords) = ([name("root"), name("other")], [PASSWORD, "another horse battery"]);
    let tries = services.iter().enumerate().map(|(at, service)| {
        let (name, password) = (&names[at / 2], passwords[at % 2]);
        async move { service.init(name, password).await.map(|made| (made, password)) }
    });
    let outcomes = futures_util::future::join_all(tries).await;
    let (made, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(|outcome| outcome.is_ok());
    assert_eq!(made.len(), 1);
    assert!(refused.iter().all(|outcome| outcome.as_ref().unwrap_err().code == Code::FirstAdmin));
    assert_eq!(place.service.accounts().await.unwrap().len(), 1, "who came too late left nothing");
    let (admin, password) = made[0].as_ref().unwrap();
    let first = First::Password(password);
    let wish = SignIn { name: admin.name.as_str(), first, second: None, service: "mcrun", address: None };
    assert!(matches!(place.service.sign_in(&wish).await.unwrap(), Outcome::Token(_)));
}

#[tokio::test]
async fn the_last_active_admin_stays_also_with_two_at_once() {
    let place = Place::new();
    let one = place.account("one", Kind::Human, &[Role::Admin]).await;
    let without = Account { roles: BTreeSet::new(), ..one.clone() };
    let disabled = Account { status: Status::Disabled, ..one.clone() };
    for after in [Some(&without), Some(&disabled), None] {
        assert_eq!(place.service.put(Some(&one), after).await.unwrap_err().code, Code::LastAdmin);
    }
    let two = place.account("two", Kind::Human, &[Role::Admin]).await;
    let other_disabled = Account { status: Status::Disabled, ..two.clone() };
    let (first, second) = tokio::join!(
        place.service.put(Some(&one), Some(&disabled)),
        place.service.put(Some(&two), Some(&other_disabled)),
    );
    assert_eq!([&first, &second].iter().filter(|done| done.is_ok()).count(), 1, "{first:?} {second:?}");
    assert!(place.service.has_admin().await.unwrap());
}

#[tokio::test]
async fn of_two_changes_at_once_none_is_lost() {
    let place = Place::new();
    let alice = place.account("alice", Kind::Human, &[]).await;
    let tagged = Account { tags: [name("a")].into(), ..alice.clone() };
    let grouped = Account { groups: [name("b")].into(), ..alice.clone() };
    place.service.put(Some(&alice), Some(&tagged)).await.unwrap();
    let late = place.service.put(Some(&alice), Some(&grouped)).await.unwrap_err();
    assert_eq!((late.code, late.retryable), (Code::AccountChanged, true));
    assert_eq!(place.service.account(&name("alice")).await.unwrap(), Some(tagged));
}

#[tokio::test]
async fn a_system_account_has_neither_roles_nor_a_password() {
    let place = Place::new();
    let mcq = place.account("mcq", Kind::System, &[]).await;
    let with_role = Account { roles: [Role::User].into(), ..mcq.clone() };
    assert_eq!(place.service.put(Some(&mcq), Some(&with_role)).await.unwrap_err().code, Code::AccountKind);
    let as_human = Account { kind: Kind::Human, ..mcq.clone() };
    assert_eq!(place.service.put(Some(&mcq), Some(&as_human)).await.unwrap_err().code, Code::AccountKind);
    assert_eq!(place.service.set_password(&mcq, PASSWORD).await.unwrap_err().code, Code::AccountKind);
}

#[tokio::test]
async fn another_account_under_the_same_name_inherits_nothing() {
    let place = Place::new();
    let alice = place.person("alice").await;
    let token = place.token("alice").await;
    place.service.put(Some(&alice), None).await.unwrap();
    place.account("alice", Kind::Human, &[Role::User]).await;
    assert!(matches!(place.sign_in("alice", PASSWORD, None).await, Outcome::Refused));
    assert!(place.service.validate(&token.text, &name("mcq")).await.unwrap().is_err());
    assert!(place.service.tokens(&name("alice")).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_admin_comes_back_whatever_was_lost() {
    let place = Place::new();
    let alice = place.person("alice").await;
    place.account("root", Kind::Human, &[Role::Admin]).await;
    let token = place.token("alice").await;
    place.service.enrol_totp(&alice.name).await.unwrap();
    place.change(&alice, |alice| alice.status = Status::Disabled).await;
    let admin = place.service.recover_admin(&alice.name, "another horse battery").await.unwrap();
    assert!(admin.is_active_admin());
    assert!(place.service.validate(&token.text, &name("mcq")).await.unwrap().is_err());
    assert!(matches!(place.sign_in("alice", "another horse battery", None).await, Outcome::Token(_)));
    assert!(place.notes.taken().contains(&Event::AdminRecovered { account: name("alice") }));
}

#[tokio::test]
async fn the_same_order_makes_the_same_token() {
    let place = Place::new();
    place.allow().await;
    let (account, service) = (place.account("mcr", Kind::System, &[]).await, name("mcq"));
    let order = Order { account: &account, service: &service, lifetime: None, id: "the-id" };
    let issued = place.service.issue(&order).await.unwrap();
    let again = place.elsewhere().issue(&order).await.unwrap();
    assert_eq!(*issued.text, *again.text);
    assert_eq!(*place.service.handed_on(&account.name, "the-id").await.unwrap(), *issued.text);
    assert_eq!(issued.token.expires_at - issued.token.issued_at, 365 * 86_400_000);
    let other = Order { service: &name("mcr"), ..order };
    assert_eq!(place.service.issue(&other).await.unwrap_err().code, Code::LoginRefused);
}

#[tokio::test]
async fn nothing_secret_lies_open_in_the_records() {
    let place = Place::new();
    let alice = place.person("alice").await;
    let token = place.token("alice").await;
    let enrolment = place.service.enrol_totp(&alice.name).await.unwrap();
    let mut all = String::new();
    for kind in ["account", "admins", "credentials", "token", "key", "rules"] {
        for record in place.journal.records(&format!("mcias-{kind}"), None).await.unwrap() {
            all.push_str(&record.value);
        }
    }
    let signature = token.text.rsplit('.').next().unwrap();
    for secret in [PASSWORD, "argon2", &token.text, signature, &enrolment.key] {
        assert!(!all.contains(secret));
    }
}

#[tokio::test]
async fn keys_rotate_and_old_ones_verify_until_their_last_token_is_over() {
    let place = Place::new();
    place.person("alice").await;
    let token = place.token("alice").await;
    place.service.rotate_key().await.unwrap();
    let other = place.token("alice").await;
    let keys = |set: serde_json::Value| set["keys"].as_array().unwrap().len();
    assert_eq!(keys(place.service.key_set().await.unwrap()), 2);
    for token in [&token, &other] {
        assert!(place.service.validate(&token.text, &name("mcq")).await.unwrap().is_ok());
        assert!(place.elsewhere().validate(&token.text, &name("mcq")).await.unwrap().is_ok());
    }
    assert_eq!(place.service.sweep().await.unwrap(), 0);
    assert_eq!(keys(place.service.key_set().await.unwrap()), 2, "a token of the old key lives");
    place.pass(Duration::from_secs(2 * 3600));
    assert_eq!(place.service.sweep().await.unwrap(), 2);
    assert_eq!(keys(place.service.key_set().await.unwrap()), 1);
    place.pass(Duration::from_secs(91 * 86_400));
    place.token("alice").await;
    assert_eq!(keys(place.service.key_set().await.unwrap()), 2, "a key does not sign for ever");
}

#[tokio::test]
async fn tokens_of_one_account_are_bounded_and_expired_ones_make_room() {
    let place = Place::new();
    place.allow().await;
    let (account, service) = (place.account("mcr", Kind::System, &[]).await, name("mcq"));
    let lifetime = Some(Duration::from_secs(60));
    for number in 0..256 {
        let id = format!("n{number}");
        place
            .service
            .issue(&Order { account: &account, service: &service, lifetime, id: &id })
            .await
            .unwrap();
    }
    let order = Order { account: &account, service: &service, lifetime, id: "one-more" };
    assert_eq!(place.service.issue(&order).await.unwrap_err().code, Code::IdentityBusy);
    place.pass(Duration::from_secs(120));
    place.service.issue(&order).await.unwrap();
}
