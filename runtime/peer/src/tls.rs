//! Owns TLS to peers: whom it trusts, and why it failed in words.

use std::io;
use std::path::Path;
use std::sync::Arc;

use effect::{Code, Error, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{CertificateError, ClientConfig, RootCertStore};

use crate::failure::Kind;

pub(crate) fn config(kind: &Kind, ca: Option<&Path>) -> Result<ClientConfig> {
    let roots = match ca {
        Some(path) => from_file(path)?,
        None => from_system(kind)?,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(Code::Internal, "TLS cannot be set up").because(error))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn from_system(kind: &Kind) -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Single certificates that nobody can parse are no reason to trust none.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let message = "this machine has no certificate authorities to trust";
        return Err(
            Error::new(kind.unavailable, message).hint("install ca-certificates, or name a file with `ca`")
        );
    }
    Ok(roots)
}

fn from_file(path: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| no_file(path, error))?;
    }
    Ok(roots)
}

/// The certificates of a file in PEM that the operator named.
///
/// # Errors
/// `MC-U002` where it cannot be read or holds none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| no_file(path, error))?;
    if found.is_empty() { Err(no_file(path, "it contains none")) } else { Ok(found) }
}

fn no_file(path: &Path, cause: impl std::fmt::Display) -> Error {
    Error::new(Code::Config, format!("`{}` is not a file of certificates", path.display())).because(cause)
}

/// A certificate that is not trusted today is not trusted in a second either.
pub(crate) fn untrusted(kind: &Kind, place: &str, error: &io::Error) -> Error {
    let told = |cause: String| kind.unavailable(place, cause);
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return told(format!("the connection broke before TLS stood: {error}")).retryable();
    };
    match tls {
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => told(format!("TLS: its own certificate is not valid now: {tls}"))
            .hint(format!("compare the clock of this machine with that of {}", kind.name)),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => told(format!("TLS: its certificate is for other names only: {tls}"))
            .hint("write the address with a name that its certificate bears: one for host names is not valid for `127.0.0.1`"),
        rustls::Error::InvalidCertificate(_) => {
            told(format!("TLS: its own certificate is not trusted: {tls}"))
                .hint("name the file of the authority that signed it, `ca = \"/path/ca.pem\"`, under [drivers] in mcrun.toml")
        }
        rustls::Error::InvalidMessage(_) => told("TLS: what answers there does not speak it".into())
            .hint("check the port, and whether it is `http://`"),
        other => told(format!("TLS: {other}")),
    }
}
