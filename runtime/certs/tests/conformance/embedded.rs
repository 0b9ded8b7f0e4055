//! Owns the embedded authority as one of the peers.

use std::sync::Arc;

use async_trait::async_trait;
use certs::Driver;
use certs::certificate::{Facts, to_pem};
use certs::embedded;
use effect::Sealer;
use journal::{Journal, SystemClock};
use rustls::pki_types::CertificateDer;

use crate::bench::Authority;

pub(crate) struct Embedded {
    authority: embedded::Authority,
    roots: String,
    _folder: tempfile::TempDir,
}

impl Embedded {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), Arc::new(SystemClock)).unwrap();
        let sealer = Arc::new(Sealer::open(folder.path()).unwrap());
        let authority =
            embedded::Authority::new(journal, sealer, "rift", folder.path(), embedded::Settings::default());
        let roots = to_pem(&Driver::roots(&authority).await.unwrap());
        Self { authority, roots, _folder: folder }
    }
}

#[async_trait]
impl Authority for Embedded {
    fn driver(&self) -> &dyn Driver {
        &self.authority
    }

    fn roots(&self) -> String {
        self.roots.clone()
    }

    async fn is_revoked(&self, certificate: &CertificateDer<'static>) -> bool {
        let serial = Facts::of(certificate).unwrap().serial;
        let issuance = self.authority.issuance(&serial).await.unwrap();
        issuance.is_some_and(|issuance| issuance.revoked.is_some())
    }
}
