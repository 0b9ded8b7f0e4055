//! Owns the reading of signing requests (RFC 2986). Only their key and their names count; whatever else they ask for is
//! either without meaning here or a reason to refuse them. The authority writes every extension by itself.

use std::collections::BTreeSet;

use aws_lc_rs::signature;
use effect::{Code, Error, Result};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName, KeyUsage, ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer as _;

use crate::key;
use crate::names::{Name, Names};

/// Room for a key of 8192 bits and a hundred names of the greatest length.
pub const LONGEST: usize = 32 * 1024;

const COMMON_NAME: &str = "2.5.4.3";

/// What counts of a signing request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its key, a SubjectPublicKeyInfo in DER (RFC 5280, section 4.1).
    pub public: Vec<u8>,
    /// Its names.
    pub names: Names,
}

impl Request {
    /// Reads a request from DER and checks that its sender holds the key.
    ///
    /// # Errors
    /// `MC-E004` where it is damaged, not signed by its key, or asks for something that requests cannot have here;
    /// `MC-E003` where its key is weak.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        if der.len() > LONGEST {
            return Err(refused(format!("it is longer than {LONGEST} bytes")));
        }
        let (rest, request) =
            X509CertificationRequest::from_der(der).map_err(|_| refused("it cannot be decoded"))?;
        if !rest.is_empty() {
            return Err(refused("something follows it"));
        }
        let public = request.certification_request_info.subject_pki.raw;
        key::check_public(public)?;
        check_signature(&request)?;
        let names = names(&request)?;
        check_subject(&request, &names)?;
        Ok(Self { public: public.to_vec(), names })
    }
}

fn refused(why: impl Into<String>) -> Error {
    Error::new(Code::CertificateRequest, format!("the signing request is refused: {}", why.into()))
}

fn check_signature(request: &X509CertificationRequest<'_>) -> Result<()> {
    let info = &request.certification_request_info;
    let curve = info.subject_pki.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
    let curve = curve.map(|curve| curve.to_id_string()).unwrap_or_default();
    let algorithm = request.signature_algorithm.algorithm.to_id_string();
    // SHA-1 is not among them, whatever the key.
    let verified_by: &dyn signature::VerificationAlgorithm = match (algorithm.as_str(), curve.as_str()) {
        ("1.2.840.113549.1.1.11", _) => &signature::RSA_PKCS1_2048_8192_SHA256,
        ("1.2.840.113549.1.1.12", _) => &signature::RSA_PKCS1_2048_8192_SHA384,
        ("1.2.840.113549.1.1.13", _) => &signature::RSA_PKCS1_2048_8192_SHA512,
        ("1.2.840.10045.4.3.2", "1.2.840.10045.3.1.7") => &signature::ECDSA_P256_SHA256_ASN1,
        ("1.2.840.10045.4.3.3", "1.2.840.10045.3.1.7") => &signature::ECDSA_P256_SHA384_ASN1,
        ("1.2.840.10045.4.3.2", "1.3.132.0.34") => &signature::ECDSA_P384_SHA256_ASN1,
        ("1.2.840.10045.4.3.3", "1.3.132.0.34") => &signature::ECDSA_P384_SHA384_ASN1,
        ("1.3.101.112", _) => &signature::ED25519,
        _ => return Err(refused(format!("its signature is of an unknown kind ({algorithm})"))),
    };
    let key = signature::UnparsedPublicKey::new(verified_by, &info.subject_pki.subject_public_key.data);
    key.verify(info.raw, &request.signature_value.data)
        .map_err(|_| refused("its signature is not one of its own key"))
}

fn names(request: &X509CertificationRequest<'_>) -> Result<Names> {
    let mut extensions: Option<&[X509Extension<'_>]> = None;
    for attribute in request.certification_request_info.attributes() {
        match attribute.parsed_attribute() {
            ParsedCriAttribute::ExtensionRequest(request) if extensions.is_none() => {
                extensions = Some(&request.extensions);
            }
            ParsedCriAttribute::ExtensionRequest(_) => return Err(refused("it asks for extensions twice")),
            // Some tools write an empty one; nobody compares it here.
            ParsedCriAttribute::ChallengePassword(_) => {}
            ParsedCriAttribute::UnsupportedAttribute => {
                return Err(refused(format!("nobody knows its attribute {}", attribute.oid)));
            }
        }
    }
    let mut seen = BTreeSet::new();
    let mut names = None;
    for extension in extensions.unwrap_or_default() {
        if !seen.insert(extension.oid.to_id_string()) {
            return Err(refused(format!("it asks for the extension {} twice", extension.oid)));
        }
        if let Some(found) = read_extension(extension)? {
            names = Some(found);
        }
    }
    let names = names.ok_or_else(|| {
        refused("it has no alternative names")
            .hint("name the hosts in subjectAltName; the common name is not enough")
    })?;
    Names::new(names)
        .map_err(|error| refused("its names cannot stand in a certificate").because(error.message))
}

/// The names where the extension holds them; an error where it asks for what requests cannot have.
fn read_extension(extension: &X509Extension<'_>) -> Result<Option<Vec<Name>>> {
    match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => {
            names.general_names.iter().map(name).collect::<Result<_>>().map(Some)
        }
        ParsedExtension::BasicConstraints(constraints) => {
            if constraints.ca || constraints.path_len_constraint.is_some() {
                return Err(refused("it asks for a certificate of an authority"));
            }
            Ok(None)
        }
        ParsedExtension::KeyUsage(usage) => check_usage(usage).map(|()| None),
        ParsedExtension::ExtendedKeyUsage(usage) => check_extended_usage(usage).map(|()| None),
        // Derived from the key anew.
        ParsedExtension::SubjectKeyIdentifier(_) => Ok(None),
        ParsedExtension::ParseError { .. } => {
            Err(refused(format!("its extension {} cannot be decoded", extension.oid)))
        }
        _ => Err(refused(format!(
            "it asks for the extension {}, which requests cannot have here",
            extension.oid
        ))),
    }
}

fn name(name: &GeneralName<'_>) -> Result<Name> {
    match name {
        GeneralName::DNSName(text) if text.is_ascii() => match text.parse::<Name>() {
            Ok(Name::Ip(_)) => Err(refused("an address stands where a host name belongs")),
            Ok(name) => Ok(name),
            Err(error) => Err(refused("a name of it cannot stand in a certificate").because(error.message)),
        },
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(|bytes| Name::Ip(bytes.into()));
            let sixteen = <[u8; 16]>::try_from(*bytes).map(|bytes| Name::Ip(bytes.into()));
            four.or(sixteen).map_err(|_| refused("an IP address has neither 4 nor 16 bytes"))
        }
        _ => Err(refused("it has a name that is neither a host name nor an IP address")),
    }
}

fn check_usage(usage: &KeyUsage) -> Result<()> {
    if usage.key_cert_sign() || usage.crl_sign() {
        return Err(refused("it asks for a key that signs certificates"));
    }
    Ok(())
}

fn check_extended_usage(usage: &ExtendedKeyUsage<'_>) -> Result<()> {
    let is_plain = !usage.any
        && !usage.code_signing
        && !usage.email_protection
        && !usage.time_stamping
        && !usage.ocsp_signing
        && usage.other.is_empty();
    if is_plain { Ok(()) } else { Err(refused("it asks for more than the use by servers and clients")) }
}

/// Old clients read the common name: it must not say anything that the names do not.
fn check_subject(request: &X509CertificationRequest<'_>, names: &Names) -> Result<()> {
    let subject = &request.certification_request_info.subject;
    for attribute in subject.iter_attributes() {
        if attribute.attr_type().to_id_string() != COMMON_NAME {
            continue;
        }
        let text = attribute.as_str().map_err(|_| refused("its common name cannot be decoded"))?;
        let is_named = text.parse::<Name>().is_ok_and(|name| names.as_slice().contains(&name));
        if !is_named {
            return Err(refused("its common name is not among its names"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
