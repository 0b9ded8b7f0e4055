//! Owns the authority of the tests: it signs with a key that is gone with it, and remembers what it has signed.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use certs::acme::server::{SignOrder, Signer, Standing};
use certs::certificate::Facts;
use certs::{Name, Names, Reason};
use effect::{Code, Error, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;

/// Nobody gets certificates beneath it.
pub(crate) const FORBIDDEN: &str = "forbidden.test";
const LIFETIME: Duration = Duration::from_secs(90 * 86_400);

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) root: CertificateDer<'static>,
    issued: Mutex<BTreeMap<String, Issued>>,
    /// So many attempts to sign fail before one succeeds.
    pub(crate) failing: AtomicU32,
    /// So many answers are lost after something was signed.
    pub(crate) losing: AtomicU32,
    /// Every token and service that it was asked to sign for.
    pub(crate) asked: Mutex<Vec<(String, Option<String>)>>,
}

#[derive(Clone)]
struct Issued {
    token: String,
    chain: Vec<CertificateDer<'static>>,
    revoked: Option<Reason>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(&key).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            root,
            issued: Mutex::default(),
            failing: AtomicU32::new(0),
            losing: AtomicU32::new(0),
            asked: Mutex::default(),
        }
    }

    /// A certificate for a server of the test, with its key.
    pub(crate) fn server(&self, host: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let names = Names::parse(&[host]).unwrap();
        let chain = self.signed(&names, &key, LIFETIME);
        (chain, PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }

    fn signed(
        &self,
        names: &Names,
        key: &impl rcgen::PublicKeyData,
        life: Duration,
    ) -> Vec<CertificateDer<'static>> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let name = |name: &Name| match name {
            Name::Dns(name) => SanType::DnsName(name.as_str().try_into().unwrap()),
            Name::Ip(address) => SanType::IpAddress(*address),
        };
        params.subject_alt_names = names.as_slice().iter().map(name).collect();
        params.use_authority_key_identifier_extension = true;
        let mut serial = [0; 16];
        rustix::rand::getrandom(&mut serial, rustix::rand::GetRandomFlags::empty()).unwrap();
        serial[0] = serial[0] & 0x7f | 0x01;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let now = OffsetDateTime::now_utc();
        params.not_before = now - Duration::from_secs(60);
        params.not_after = now + life;
        vec![params.signed_by(key, &self.issuer).unwrap().der().clone()]
    }

    pub(crate) fn count(&self) -> usize {
        self.issued.lock().unwrap().len()
    }

    /// Why the certificate was revoked, if it was.
    pub(crate) fn revoked(&self, serial: &str) -> Option<Reason> {
        self.issued
            .lock()
            .unwrap()
            .values()
            .find(|one| serial_of(&one.chain) == serial)
            .and_then(|one| one.revoked)
    }
}

pub(crate) fn serial_of(chain: &[CertificateDer<'_>]) -> String {
    Facts::of(&chain[0]).unwrap().serial
}

#[async_trait]
impl Signer for Authority {
    fn admit(&self, names: &Names, _: Option<&str>) -> Result<()> {
        match names.as_slice().iter().find(|name| name.is_within(FORBIDDEN)) {
            None => Ok(()),
            Some(name) => Err(Error::new(Code::CertificatePolicy, format!("`{name}` is refused"))),
        }
    }

    async fn sign(&self, order: &SignOrder<'_>) -> Result<Vec<CertificateDer<'static>>> {
        self.asked.lock().unwrap().push((order.token.to_owned(), order.service.map(str::to_owned)));
        let fails =
            self.failing.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if fails {
            return Err(Error::new(Code::AuthorityInvalid, "it cannot sign now").retryable());
        }
        let mut issued = self.issued.lock().unwrap();
        if let Some(earlier) = issued.get(order.token) {
            return Ok(earlier.chain.clone());
        }
        let public = SubjectPublicKeyInfo::from_der(order.public).unwrap();
        let mut chain = self.signed(order.names, &public, order.lifetime.unwrap_or(LIFETIME));
        chain.push(self.root.clone());
        let one = Issued { token: order.token.to_owned(), chain: chain.clone(), revoked: None };
        issued.insert(order.token.to_owned(), one);
        let is_lost =
            self.losing.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if is_lost {
            return Err(Error::new(Code::AuthorityInvalid, "nobody hears that it has signed").retryable());
        }
        Ok(chain)
    }

    async fn standing(&self, serial: &str) -> Result<Option<Standing>> {
        let issued = self.issued.lock().unwrap();
        let found = issued.values().find(|one| serial_of(&one.chain) == serial);
        Ok(found.map(|one| Standing {
            chain: one.chain.clone(),
            revoked: one.revoked.is_some(),
            token: one.token.clone(),
            window: None,
        }))
    }

    async fn revoke(&self, serial: &str, reason: Reason) -> Result<()> {
        let mut issued = self.issued.lock().unwrap();
        let found = issued.values_mut().find(|one| serial_of(&one.chain) == serial).unwrap();
        found.revoked = Some(reason);
        Ok(())
    }
}
