//! Owns whom TLS connections trust: the system's authorities, or those of one file.

use std::path::Path;
use std::sync::Arc;

use effect::{Code, Error, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;

/// Reading the system's authorities takes milliseconds; they are read when first needed.
static SYSTEM: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();

/// The settings of a connection; `ca` is a file of certificates in PEM that is trusted instead of the system's.
pub(super) async fn config(ca: Option<&Path>) -> Result<Arc<ClientConfig>> {
    match ca {
        Some(path) => {
            let path = path.to_owned();
            in_background(move || from_file(&path)).await
        }
        None => SYSTEM.get_or_try_init(|| in_background(from_system)).await.cloned(),
    }
}

async fn in_background(
    build: impl FnOnce() -> Result<Arc<ClientConfig>> + Send + 'static,
) -> Result<Arc<ClientConfig>> {
    tokio::task::spawn_blocking(build)
        .await
        .map_err(|error| Error::ended("reading certificates ended early", &error))?
}

fn from_system() -> Result<Arc<ClientConfig>> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Single certificates that nobody can parse are no reason to trust none.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let error = Error::new(Code::HttpFailed, "this machine has no certificate authorities to trust");
        return Err(error.hint("install ca-certificates, or name a file with `ca`"));
    }
    build(roots)
}

fn from_file(path: &Path) -> Result<Arc<ClientConfig>> {
    let wrong = |cause: String| {
        Error::new(Code::HttpFailed, format!("`{}` is not a file of certificates", path.display()))
            .because(cause)
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("it contains none".into()));
    }
    build(roots)
}

fn build(roots: RootCertStore) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(Code::Internal, "TLS cannot be set up").because(error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
