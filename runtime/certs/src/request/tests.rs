//! Signing requests that mean harm, made by rcgen, by hand and by openssl.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, SanType, SigningKey as _,
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
                writer.next().write_tagged_implicit(Tag::context(*tag), |writer| writer.write_bytes(bytes));
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
            wishes(writer.next(), &[(&SUBJECT_ALTERNATIVE_NAME, names), (&[2, 5, 29, 19], value.to_vec())]);
        });
        assert!(Request::from_der(&request).is_err(), "{value:?}");
    }
}

#[test]
fn unknown_extensions_and_attributes_are_refused() {
    let unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
    refusal(&made(|params| params.custom_extensions = vec![unknown]), "1.3.6.1.4.1.99999.1");
    // That answers are to be stapled: nobody staples any here.
    let stapled = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], vec![0x30, 3, 2, 1, 5]);
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
    let (first, second) = (general_names(&[(2, b"a.mcrun.test")]), general_names(&[(2, b"b.mcrun.test")]));
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
    let common = |name: &'static str| made(|params| params.distinguished_name.push(DnType::CommonName, name));
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
    // What is not under the signature says nothing: only that it can be read at all.
    let (_, read) = X509CertificationRequest::from_der(&good).unwrap();
    let signed = read.certification_request_info.raw;
    let start = good.windows(signed.len()).position(|bytes| bytes == signed).unwrap();
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 0x55;
        let outcome = Request::from_der(&changed);
        let is_signed = (start..start + signed.len()).contains(&at);
        assert!(outcome.is_err() || (!is_signed && outcome == Request::from_der(&good)), "{at}");
    }
}

#[test]
fn a_weak_key_is_refused_as_such() {
    let weak = include_bytes!("../../tests/data/rsa1024.csr.der");
    assert_eq!(Request::from_der(weak).unwrap_err().code, Code::CertificateKey);
    let old = include_bytes!("../../tests/data/sha1.csr.der");
    refusal(old, "unknown kind");
}
