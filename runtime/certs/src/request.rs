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
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
        ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType, SigningKey as _,
    };
    use yasna::models::ObjectIdentifier;
    use yasna::{DERWriter, Tag};

    use super::*;
    use crate::key::{Key, KeyType};

    /// A request by rcgen, changed by `change`.
    fn made(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["a.mcrun.test".to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        change(&mut params);
        params.serialize_request(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    /// A request made by hand, signed by its key, with what `attributes` writes.
    fn by_hand(attributes: impl FnOnce(&mut yasna::DERWriterSet<'_>)) -> Vec<u8> {
        let key = Key::generate(KeyType::P256).unwrap();
        let info = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_u8(0);
                writer.next().write_sequence(|_| ());
                writer.next().write_der(&key.public());
                writer.next().write_tagged_implicit(Tag::context(0), |writer| writer.write_set(attributes));
            });
        });
        let signature = key.pair().sign(&info).unwrap();
        yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_der(&info);
                writer.next().write_sequence(|writer| {
                    writer.next().write_oid(&ObjectIdentifier::from_slice(&[1, 2, 840, 10045, 4, 3, 2]));
                });
                writer.next().write_bitvec_bytes(&signature, signature.len() * 8);
            });
        })
    }

    fn oid(writer: DERWriter<'_>, arcs: &[u64]) {
        writer.write_oid(&ObjectIdentifier::from_slice(arcs));
    }

    const EXTENSION_REQUEST: [u64; 7] = [1, 2, 840, 113549, 1, 9, 14];
    const SUBJECT_ALTERNATIVE_NAME: [u64; 4] = [2, 5, 29, 17];

    /// A wish for extensions, each an object identifier and its value.
    fn wishes(writer: DERWriter<'_>, extensions: &[(&[u64], Vec<u8>)]) {
        writer.write_sequence(|writer| {
            oid(writer.next(), &EXTENSION_REQUEST);
            writer.next().write_set(|writer| {
                writer.next().write_sequence(|writer| {
                    for (arcs, value) in extensions {
                        writer.next().write_sequence(|writer| {
                            oid(writer.next(), arcs);
                            writer.next().write_bytes(value);
                        });
                    }
                });
            });
        });
    }

    /// A name as it stands in the extension: the tag and its bytes.
    fn general_names(names: &[(u64, &[u8])]) -> Vec<u8> {
        yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                for (tag, bytes) in names {
                    writer
                        .next()
                        .write_tagged_implicit(Tag::context(*tag), |writer| writer.write_bytes(bytes));
                }
            });
        })
    }

    fn named(names: &[(u64, &[u8])]) -> Vec<u8> {
        by_hand(|writer| wishes(writer.next(), &[(&SUBJECT_ALTERNATIVE_NAME, general_names(names))]))
    }

    #[track_caller]
    fn refusal(der: &[u8], words: &str) {
        let error = Request::from_der(der).unwrap_err();
        assert_eq!(error.code, Code::CertificateRequest, "{error}");
        assert!(error.message.contains(words), "{error}");
    }

    #[test]
    fn key_and_names_are_what_counts() {
        let names = Names::parse(&["a.mcrun.test", "*.b.mcrun.test", "192.0.2.7", "2001:db8::1"]).unwrap();
        for kind in [KeyType::P256, KeyType::P384, KeyType::Ed25519, KeyType::Rsa2048] {
            let key = Key::generate(kind).unwrap();
            let request = Request::from_der(&key.request(&names).unwrap()).unwrap();
            assert_eq!(request, Request { public: key.public(), names: names.clone() });
        }
    }

    #[test]
    fn what_says_nothing_that_matters_is_passed_over() {
        let plain = made(|params| {
            params.distinguished_name.push(DnType::OrganizationName, "Anybody");
            params.distinguished_name.push(DnType::CommonName, "A.mcrun.test");
            params.is_ca = IsCa::ExplicitNoCa;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
            params.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        });
        assert_eq!(Request::from_der(&plain).unwrap().names.to_string(), "a.mcrun.test");
        let by_hand = named(&[(2, b"A.mcrun.test"), (7, &[192, 0, 2, 7])]);
        assert_eq!(Request::from_der(&by_hand).unwrap().names.to_string(), "a.mcrun.test, 192.0.2.7");
    }

    #[test]
    fn a_request_for_an_authority_is_refused() {
        refusal(&made(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), "authority");
        refusal(&made(|params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]), "signs certificates");
        refusal(&made(|params| params.key_usages = vec![KeyUsagePurpose::CrlSign]), "signs certificates");
        for usage in [ExtendedKeyUsagePurpose::Any, ExtendedKeyUsagePurpose::CodeSigning] {
            refusal(&made(|params| params.extended_key_usages = vec![usage]), "servers and clients");
        }
        // A path length without CA:TRUE contradicts itself, and so does CA:TRUE that is not encoded as DER has it.
        let limited: &[u8] = &[0x30, 3, 2, 1, 0];
        let strange: &[u8] = &[0x30, 3, 1, 1, 1];
        for value in [limited, strange] {
            let names = general_names(&[(2, b"a.mcrun.test")]);
            let request = by_hand(|writer| {
                wishes(
                    writer.next(),
                    &[(&SUBJECT_ALTERNATIVE_NAME, names), (&[2, 5, 29, 19], value.to_vec())],
                );
            });
            assert!(Request::from_der(&request).is_err(), "{value:?}");
        }
    }

    #[test]
    fn unknown_extensions_and_attributes_are_refused() {
        let unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        refusal(&made(|params| params.custom_extensions = vec![unknown]), "1.3.6.1.4.1.99999.1");
        // That answers are to be stapled: nobody staples any here.
        let stapled =
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], vec![0x30, 3, 2, 1, 5]);
        refusal(&made(|params| params.custom_extensions = vec![stapled]), "cannot have here");
        let attribute = by_hand(|writer| {
            wishes(writer.next(), &[(&SUBJECT_ALTERNATIVE_NAME, general_names(&[(2, b"a.mcrun.test")]))]);
            writer.next().write_sequence(|writer| {
                oid(writer.next(), &[1, 3, 6, 1, 4, 1, 99999, 2]);
                writer.next().write_set(|writer| writer.next().write_u8(1));
            });
        });
        refusal(&attribute, "attribute");
    }

    #[test]
    fn whatever_is_said_twice_is_refused() {
        let (first, second) =
            (general_names(&[(2, b"a.mcrun.test")]), general_names(&[(2, b"b.mcrun.test")]));
        let extensions = by_hand(|writer| {
            wishes(
                writer.next(),
                &[(&SUBJECT_ALTERNATIVE_NAME, first.clone()), (&SUBJECT_ALTERNATIVE_NAME, second.clone())],
            );
        });
        assert_eq!(Request::from_der(&extensions).unwrap_err().code, Code::CertificateRequest);
        let attributes = by_hand(|writer| {
            wishes(writer.next(), &[(&SUBJECT_ALTERNATIVE_NAME, first)]);
            wishes(writer.next(), &[(&SUBJECT_ALTERNATIVE_NAME, second)]);
        });
        refusal(&attributes, "twice");
    }

    #[test]
    fn names_of_other_kinds_and_none_are_refused() {
        refusal(&made(|params| params.subject_alt_names.clear()), "no alternative names");
        refusal(&by_hand(|_| ()), "no alternative names");
        refusal(
            &made(|params| {
                params.subject_alt_names.push(SanType::Rfc822Name("a@mcrun.test".try_into().unwrap()))
            }),
            "neither",
        );
        refusal(
            &made(|params| params.subject_alt_names.push(SanType::URI("https://a/".try_into().unwrap()))),
            "neither",
        );
        let good: (u64, &[u8]) = (2, b"a.mcrun.test");
        refusal(&named(&[]), "cannot stand");
        refusal(&named(&[good, (2, b"192.0.2.7")]), "an address stands");
        refusal(&named(&[good, (2, b"a_b.mcrun.test")]), "cannot stand");
        refusal(&named(&[good, (2, b"a.mcrun.test\0.evil.test")]), "cannot stand");
        refusal(&named(&[good, (7, &[192, 0, 2])]), "neither 4 nor 16");
        refusal(&named(&[good, (8, &[42])]), "neither");
        let many: Vec<String> = (0..101).map(|number| format!("n{number}.mcrun.test")).collect();
        let many: Vec<(u64, &[u8])> = many.iter().map(|name| (2, name.as_bytes())).collect();
        refusal(&named(&many), "cannot stand");
    }

    #[test]
    fn a_common_name_that_is_no_name_is_refused() {
        let common =
            |name: &'static str| made(|params| params.distinguished_name.push(DnType::CommonName, name));
        refusal(&common("b.mcrun.test"), "common name");
        refusal(&common("Anybody"), "common name");
        refusal(&common(""), "common name");
    }

    #[test]
    fn only_its_own_key_signs_a_request() {
        let good = made(|_| ());
        let mut forged = good.clone();
        let last = forged.len() - 1;
        forged[last] ^= 1;
        refusal(&forged, "signature");
        // The names are under the signature.
        let at = good.windows(12).position(|bytes| bytes == b"a.mcrun.test").unwrap();
        let mut renamed = good.clone();
        renamed[at] = b'b';
        refusal(&renamed, "signature");
    }

    #[test]
    fn damaged_and_oversized_requests_are_refused() {
        let good = made(|_| ());
        for length in 0..good.len() {
            assert!(Request::from_der(&good[..length]).is_err(), "{length}");
        }
        refusal(&[good.as_slice(), &[0]].concat(), "follows");
        refusal(&vec![0; LONGEST + 1], "longer");
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 0x55;
            assert!(Request::from_der(&changed).is_err(), "{at}");
        }
    }

    #[test]
    fn a_weak_key_is_refused_as_such() {
        let weak = include_bytes!("../tests/data/rsa1024.csr.der");
        assert_eq!(Request::from_der(weak).unwrap_err().code, Code::CertificateKey);
        let old = include_bytes!("../tests/data/sha1.csr.der");
        refusal(old, "unknown kind");
    }
}
mod tests;
