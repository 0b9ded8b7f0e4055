//! Owns what every test needs: orders with their notes, the parts of drivers, and the look at what an authority answered.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use certs::Secrets;
use certs::certificate::{check_answer, to_pem};
use certs::driver::Progress;
use certs::peer::Patience;
use certs::{Driver, Issued, Key, KeyType, Names, Order, Profile, Profiles};
use effect::{Code, Error, Result, Timestamp};
use journal::{Clock as _, SystemClock};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use crate::program;

/// An authority with the driver that leads to it.
#[async_trait]
pub(crate) trait Authority: Sync {
    fn driver(&self) -> &dyn Driver;

    /// The roots that its certificates lead to, in PEM.
    fn roots(&self) -> String;

    /// Whether it says itself that the certificate was revoked.
    async fn is_revoked(&self, certificate: &CertificateDer<'static>) -> bool;
}

/// What is noted of an order.
#[derive(Default)]
pub(crate) struct Notes {
    before: Option<String>,
    pub(crate) now: Mutex<Vec<String>>,
}

impl Notes {
    /// The notes of the attempt after this one.
    pub(crate) fn next(&self) -> Self {
        let last = self.now.lock().unwrap().last().cloned();
        Self { before: last.or_else(|| self.before.clone()), now: Mutex::default() }
    }
}

#[async_trait]
impl Progress for Notes {
    fn noted(&self) -> Option<&str> {
        self.before.as_deref()
    }

    async fn note(&self, text: &str) -> Result<()> {
        self.now.lock().unwrap().push(text.to_owned());
        Ok(())
    }
}

/// A certificate as a test wants it.
pub(crate) struct Wanted {
    pub(crate) token: String,
    pub(crate) names: Names,
    pub(crate) profile: Profile,
    pub(crate) key: Key,
    pub(crate) key_type: KeyType,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) replaces: Option<CertificateDer<'static>>,
}

impl Wanted {
    pub(crate) fn new(names: &[&str]) -> Self {
        Self {
            token: certs::driver::new_token().unwrap(),
            names: Names::parse(names).unwrap(),
            profile: profile("server"),
            key: Key::generate(KeyType::P256).unwrap(),
            key_type: KeyType::P256,
            lifetime: None,
            replaces: None,
        }
    }

    pub(crate) fn of_key(mut self, kind: KeyType) -> Self {
        self.key = Key::generate(kind).unwrap();
        self.key_type = kind;
        self
    }

    pub(crate) fn order(&self) -> Order<'_> {
        Order {
            token: &self.token,
            names: &self.names,
            profile: &self.profile,
            key: &self.key,
            key_type: self.key_type,
            lifetime: self.lifetime,
            service: None,
            replaces: self.replaces.as_ref(),
        }
    }

    pub(crate) async fn issue(&self, driver: &dyn Driver) -> Result<Issued> {
        self.go_on(driver, &Notes::default()).await
    }

    pub(crate) async fn go_on(&self, driver: &dyn Driver, notes: &Notes) -> Result<Issued> {
        let issued = driver.issue(&self.order(), notes).await?;
        check_answer(&issued.chain, &self.names, &self.key, SystemClock.now())?;
        Ok(issued)
    }
}

pub(crate) fn profile(name: &str) -> Profile {
    Profiles::new(&std::collections::BTreeMap::default()).unwrap().get(name).unwrap().clone()
}

/// Looks at a chain as a peer would, once with openssl and once with x509-parser.
pub(crate) fn verify(authority: &dyn Authority, wanted: &Wanted, issued: &Issued, purpose: &str) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let roots = write("roots.pem", &authority.roots());
    let between = write("between.pem", &to_pem(&issued.chain[1..]));
    let first = write("first.pem", &to_pem(&issued.chain[..1]));
    let mut words = vec!["verify", "-purpose", purpose, "-CAfile", &roots];
    // An empty file is an error to openssl.
    if issued.chain.len() > 1 {
        words.extend(["-untrusted", &between]);
    }
    words.push(&first);
    program::output("openssl", &words);

    let parsed: Vec<X509Certificate<'_>> =
        issued.chain.iter().map(|der| X509Certificate::from_der(der).unwrap().1).collect();
    for pair in parsed.windows(2) {
        assert_eq!(pair[0].issuer(), pair[1].subject(), "the chain is in order");
    }
    assert!(parsed.iter().all(|one| one.issuer() != one.subject()), "the root is no part of it");
    let facts = certs::certificate::Facts::of(&issued.chain[0]).unwrap();
    let mut names = facts.names.clone();
    let mut asked = wanted.names.as_slice().to_vec();
    names.sort();
    asked.sort();
    assert_eq!(names, asked, "no name more and no name less");
    let now = SystemClock.now();
    assert!(facts.not_before <= now.after(Duration::from_secs(1)) && facts.not_after > now, "{facts:?}");
}

/// Patience for authorities that are there.
pub(crate) fn patience() -> Patience {
    Patience { order: Duration::from_secs(120), ..Patience::default() }
}

/// Patience for authorities that are not.
pub(crate) fn little_patience() -> Patience {
    Patience {
        connect: Duration::from_millis(500),
        answer: Duration::from_millis(1500),
        tries: 2,
        longest_wait: Duration::from_secs(3),
        order: Duration::from_secs(20),
    }
}

/// One secret with every name.
pub(crate) struct Secret(pub(crate) &'static str, pub(crate) &'static str);

#[async_trait]
impl effect::Secrets for Secret {
    async fn reveal(&self, _: &str) -> Result<Zeroizing<Vec<u8>>> {
        Ok(Zeroizing::new(format!("{}\n", self.0).into_bytes()))
    }

    fn may_go(&self, _: &str, destination: &str) -> Result<bool> {
        Ok(destination == self.1)
    }
}

pub(crate) fn acme_parts(folder: &Path) -> certs::acme::driver::Parts {
    certs::acme::driver::Parts {
        journal: journal::Journal::open(folder, Arc::new(SystemClock)).unwrap(),
        node: "local".into(),
        sealer: Arc::new(effect::Sealer::open(folder).unwrap()),
        secrets: Secrets::new(Arc::new(Secret("", "certs:acme")), "certs:acme"),
        jitter: Arc::new(|| 0.5),
        patience: patience(),
        responders: Vec::new(),
    }
}

pub(crate) fn vault_parts(token: &'static str) -> certs::vault::Parts {
    certs::vault::Parts {
        secrets: Secrets::new(Arc::new(Secret(token, "certs:vault")), "certs:vault"),
        clock: Arc::new(SystemClock),
        jitter: Arc::new(|| 0.5),
        patience: patience(),
    }
}

/// Fails unless the error has this code and its cause these words.
pub(crate) fn assert_failed<T: std::fmt::Debug>(result: Result<T>, code: Code, words: &str) -> Error {
    let error = result.unwrap_err();
    assert_eq!(error.code, code, "{error:?}");
    let cause = error.cause.clone().unwrap_or_default();
    assert!(cause.contains(words), "`{words}` is not in {error:?}");
    assert!(error.advice().is_some(), "{error:?}");
    error
}

pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}
