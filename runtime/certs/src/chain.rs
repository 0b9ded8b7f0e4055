//! Owns the order of certificates from the first to below the root, whatever the order in which an authority sent them.

use effect::{Code, Error, Result};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, ParsedExtension, X509Certificate};

/// Longer chains are accepted by nobody.
const LONGEST: usize = 10;

/// `first`, then what of `others` leads from it towards a root, without the root.
///
/// # Errors
/// `MC-E012` where one of them is no certificate.
pub(crate) fn arranged(
    first: CertificateDer<'static>,
    others: &[CertificateDer<'static>],
) -> Result<Vec<CertificateDer<'static>>> {
    let mut chain = vec![first];
    while chain.len() < LONGEST {
        let last = parsed(&chain[chain.len() - 1])?;
        let issuer = last.issuer().as_raw();
        let mut found = None;
        for other in others {
            let candidate = parsed(other)?;
            let is_root = candidate.subject().as_raw() == candidate.issuer().as_raw();
            // The same name may stand for an old key and for the one that came after it.
            let fits = candidate.subject().as_raw() == issuer && is_key_of(&candidate, &last);
            if fits && !is_root && !chain.contains(other) {
                found = Some(other.clone());
                break;
            }
        }
        match found {
            Some(next) => chain.push(next),
            None => break,
        }
    }
    Ok(chain)
}

/// Whether `issued` names the key of `issuer`, as far as both name it (RFC 5280, section 4.2.1.1).
fn is_key_of(issuer: &X509Certificate<'_>, issued: &X509Certificate<'_>) -> bool {
    let own = issuer.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(key) => Some(key.0),
        _ => None,
    });
    match (own, key_of_issuer(issued)) {
        (Some(own), Some(named)) => own == named,
        _ => true,
    }
}

/// What a certificate calls the key that signed it.
fn key_of_issuer<'a>(certificate: &X509Certificate<'a>) -> Option<&'a [u8]> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(authority) => {
            authority.key_identifier.as_ref().map(|key| key.0)
        }
        _ => None,
    })
}

/// The common name of whoever issued the last certificate of `chain`: the root that it leads to.
pub(crate) fn root_name(chain: &[CertificateDer<'static>]) -> Option<String> {
    let last = parsed(chain.last()?).ok()?;
    last.issuer().iter_common_name().next()?.as_str().ok().map(str::to_owned)
}

/// A certificate as x509-parser sees it.
///
/// # Errors
/// `MC-E012` where it is none.
pub(crate) fn parsed<'a>(der: &'a CertificateDer<'static>) -> Result<X509Certificate<'a>> {
    match X509Certificate::from_der(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(_) => Err(Error::new(Code::CertificateAnswer, "this is no X.509 certificate")),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

    use super::*;

    fn authority(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.use_authority_key_identifier_extension = true;
        params
    }

    #[test]
    fn a_chain_is_brought_in_order_and_ends_below_the_root() {
        let key = || KeyPair::generate().unwrap();
        let root = CertifiedIssuer::self_signed(authority("root"), key()).unwrap();
        let old = CertifiedIssuer::signed_by(authority("middle"), key(), &root).unwrap();
        let middle = CertifiedIssuer::signed_by(authority("middle"), key(), &root).unwrap();
        let low = CertifiedIssuer::signed_by(authority("low"), key(), &middle).unwrap();
        let mut params = CertificateParams::new(["a.test".to_owned()]).unwrap();
        params.use_authority_key_identifier_extension = true;
        let first = params.signed_by(&key(), &low).unwrap().der().clone();
        let [root, old, middle, low] = [root, old, middle, low].map(|issuer| issuer.der().clone());
        let sent = [root.clone(), old, middle.clone(), low.clone(), first.clone(), low.clone()];
        let chain = arranged(first.clone(), &sent).unwrap();
        assert_eq!(chain, [first.clone(), low, middle]);
        assert_eq!(root_name(&chain).as_deref(), Some("root"));
        assert_eq!(arranged(first.clone(), &[root]).unwrap(), std::slice::from_ref(&first));
        let garbage = CertificateDer::from(vec![1, 2, 3]);
        assert_eq!(arranged(first, &[garbage]).unwrap_err().code, Code::CertificateAnswer);
    }
}
