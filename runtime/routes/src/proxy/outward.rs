//! Owns how back ends are spoken to: TLS with a pinned authority, and the header of the PROXY protocol.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::shown::HTTP_2;
use crate::route::{Protocol, Route};

/// How TLS is spoken to the back ends of `route`, and the name that they must bear.
pub(crate) fn backend_tls(route: &Route) -> Result<Option<(Arc<ClientConfig>, ServerName<'static>)>, String> {
    let Some(tls) = &route.backend_tls else { return Ok(None) };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(tls.ca.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("`backend_tls.ca` is no PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("`backend_tls.ca` has no certificate: {error}"))?;
    }
    if roots.is_empty() {
        return Err("`backend_tls.ca` has no certificate".into());
    }
    let name = tls.name.clone().unwrap_or_else(|| route.hostname.as_str().to_owned());
    let name = ServerName::try_from(name).map_err(|_| {
        "`backend_tls.name` is needed, because the host name is none of one back end".to_owned()
    })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    if route.protocol == Protocol::Http2 {
        config.alpn_protocols = vec![HTTP_2.to_vec()];
    }
    Ok(Some((Arc::new(config), name)))
}
