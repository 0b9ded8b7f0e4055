//! Owns an authority in a folder of its own, a clock that a test sets, and OpenSSL as the judge.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use certs::certificate::to_pem;
use certs::embedded::{Authority, Request, Settings};
use certs::{Issued, Key, KeyType, Names, Profile, Profiles};
use effect::{Sealer, Timestamp};
use journal::{Clock, Journal};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// A clock that stands until it is set.
#[derive(Default)]
pub(crate) struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

impl SetClock {
    pub(crate) fn forward(&self, span: Duration) {
        self.0.fetch_add(i64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }

    pub(crate) fn back(&self, span: Duration) {
        self.0.fetch_sub(i64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

pub(crate) struct Scene {
    pub(crate) folder: TempDir,
    pub(crate) clock: Arc<SetClock>,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) authority: Authority,
}

pub(crate) fn scene() -> Scene {
    scene_with(Settings::default())
}

pub(crate) fn scene_with(settings: Settings) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    // The present: OpenSSL asks the machine's own clock unless told.
    let clock = Arc::new(SetClock(AtomicI64::new(journal::SystemClock.now().0)));
    let sealer = Arc::new(Sealer::open(folder.path()).unwrap());
    let authority = open(folder.path(), &clock, &sealer, settings);
    Scene { folder, clock, sealer, authority }
}

pub(crate) fn open(
    folder: &Path,
    clock: &Arc<SetClock>,
    sealer: &Arc<Sealer>,
    settings: Settings,
) -> Authority {
    let journal = Journal::open(folder, clock.clone()).unwrap();
    Authority::new(journal, sealer.clone(), "rift", folder, settings)
}

pub(crate) fn profile(name: &str) -> Profile {
    Profiles::new(&Default::default()).unwrap().get(name).unwrap().clone()
}

impl Scene {
    pub(crate) async fn sign(&self, token: &str, names: &[&str]) -> effect::Result<Issued> {
        self.sign_for(token, names, &profile("server"), &Key::generate(KeyType::P256).unwrap()).await
    }

    pub(crate) async fn sign_for(
        &self,
        token: &str,
        names: &[&str],
        profile: &Profile,
        key: &Key,
    ) -> effect::Result<Issued> {
        let (names, public) = (Names::parse(names).unwrap(), key.public());
        let request =
            Request { token, names: &names, profile, public: &public, lifetime: None, service: None };
        self.authority.sign(&request).await
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// What `openssl verify` says of a chain, at the time of the scene's clock.
    pub(crate) async fn verify(
        &self,
        roots: &[CertificateDer<'static>],
        issued: &Issued,
        more: &[&str],
    ) -> Output {
        let at = (self.clock.now().0 / 1000).to_string();
        let roots = self.file("roots.pem", to_pem(roots));
        let above = self.file("above.pem", to_pem(&issued.chain[1..]));
        let leaf = self.file("leaf.pem", to_pem(&issued.chain[..1]));
        let mut arguments =
            vec!["verify", "-x509_strict", "-attime", &at, "-CAfile", roots.to_str().unwrap()];
        arguments.extend(["-untrusted", above.to_str().unwrap()]);
        arguments.extend(more);
        arguments.push(leaf.to_str().unwrap());
        openssl(&arguments)
    }

    pub(crate) async fn assert_good(&self, issued: &Issued, more: &[&str]) {
        let roots = self.authority.trusted().await.unwrap();
        let output = self.verify(&roots, issued, more).await;
        assert!(output.status.success(), "{}", said(&output));
    }
}

#[expect(clippy::disallowed_methods, reason = "OpenSSL is the judge from outside")]
pub(crate) fn openssl(arguments: &[&str]) -> Output {
    std::process::Command::new("openssl").args(arguments).output().unwrap()
}

pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
