//! Owns the certificates of a test: an authority, and what it signed under ids as a driver asks for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use effect::{Code, Error, Result};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use routes::{Certificates, Material};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use zeroize::Zeroizing;

/// An authority with what it signed.
pub(crate) struct Pki {
    issuer: Issuer<'static, KeyPair>,
    ca: CertificateDer<'static>,
    pub(crate) ca_pem: String,
    issued: Mutex<HashMap<String, Material>>,
}

impl Pki {
    pub(crate) fn new() -> Arc<Self> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let (ca, ca_pem) = (certificate.der().clone(), certificate.pem());
        Arc::new(Self { issuer: Issuer::new(params, key), ca, ca_pem, issued: Mutex::default() })
    }

    /// Signs a certificate for `names`, in the place of an older one with the id; the certificate.
    pub(crate) fn issue(&self, id: &str, names: &[&str]) -> CertificateDer<'static> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let shown = certificate.der().clone();
        let material = Material {
            chain: vec![shown.clone(), self.ca.clone()],
            key: Zeroizing::new(key.serialize_der()),
        };
        self.issued.lock().unwrap().insert(id.to_owned(), material);
        shown
    }

    pub(crate) fn withdraw(&self, id: &str) {
        self.issued.lock().unwrap().remove(id);
    }

    fn find(&self, id: &str) -> Option<Material> {
        self.issued.lock().unwrap().get(id).cloned()
    }

    /// What a server that shows the certificate with this id goes by.
    pub(crate) fn server(&self, id: &str) -> Arc<ServerConfig> {
        let material = self.find(id).unwrap();
        let key = PrivateKeyDer::Pkcs8(material.key.to_vec().into());
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(material.chain, key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }

    /// What a client that trusts this authority alone goes by.
    pub(crate) fn client(&self, alpn: &[u8]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        Arc::new(config)
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[async_trait]
impl Certificates for Pki {
    async fn material(&self, id: &str) -> Result<Material> {
        let none = || Error::new(Code::CertificateUnknown, format!("there is no certificate `{id}`"));
        self.find(id).ok_or_else(none)
    }
}
