//! Owns what a certificate says: the authority writes every field and every extension itself.

use std::net::IpAddr;
use std::time::Duration;

use effect::{Code, Error, Result, Sealer, Timestamp};
use rcgen::{
    CertificateParams, CidrSubnet, CrlDistributionPoint, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
    SerialNumber, SubjectPublicKeyInfo,
};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;

use super::hierarchy::{Intermediate, Root};
use super::ledger::Serial;
use super::{BACKDATED, Request};
use crate::certificate::Facts;
use crate::key::alternative_names;
use crate::names::{Name, Names};
use crate::profile::Extension;
use crate::renewal::CLOCK_SLACK;

/// RFC 5280, appendix A: ub-common-name.
const LONGEST_COMMON_NAME: usize = 64;
/// RFC 5280, section 4.2.2.1, authorityInfoAccess; and its way to the issuer's certificate.
const AUTHORITY_INFO: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 1, 1];
const CA_ISSUERS: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 48, 2];

/// An intermediate with its key, ready to sign.
pub(super) struct Signer {
    pub(super) id: String,
    pub(super) issuer: Issuer<'static, KeyPair>,
    not_before: Timestamp,
    not_after: Timestamp,
    constraints: Constraints,
    /// What leads from a certificate to the root: the intermediate, and the root as the one before it signed it.
    above: Vec<CertificateDer<'static>>,
}

/// A certificate that was signed and is not recorded yet.
pub(super) struct Made {
    pub(super) der: CertificateDer<'static>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

impl Signer {
    /// Opens the key of an intermediate.
    pub(super) fn open(sealer: &Sealer, intermediate: &Intermediate, root: &Root) -> Result<Self> {
        let key = intermediate.key(sealer)?;
        let certificate = intermediate.certificate()?;
        let facts = Facts::of(&certificate)?;
        if facts.public != key.public() {
            return Err(Error::new(
                Code::CertificateKey,
                "the intermediate's key belongs to another certificate",
            ));
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key.into_pair()).map_err(|error| {
            Error::new(Code::AuthorityInvalid, "the intermediate's certificate cannot be used").because(error)
        })?;
        let cross = root.cross.as_deref().map(crate::certificate::chain_from_pem).transpose()?;
        let above = [certificate].into_iter().chain(cross.into_iter().flatten()).collect();
        Ok(Self {
            id: intermediate.id.clone(),
            issuer,
            not_before: facts.not_before,
            not_after: facts.not_after,
            constraints: Constraints::parse(&intermediate.constraints)?,
            above,
        })
    }

    /// Whether it may sign at `now`.
    pub(super) fn check(&self, now: Timestamp) -> Result<()> {
        if now.after(CLOCK_SLACK) < self.not_before {
            let message = format!(
                "the clock shows {now}, and the authority's certificate begins at {}",
                self.not_before
            );
            return Err(Error::new(Code::ClockBehind, message));
        }
        if now >= self.not_after {
            let message = format!("the certificate of the authority expired at {}", self.not_after);
            return Err(Error::new(Code::AuthorityInvalid, message));
        }
        Ok(())
    }

    /// Whether `names` lie within the authority's constraints.
    pub(super) fn admit(&self, names: &Names) -> Result<()> {
        match names.as_slice().iter().find(|name| !self.constraints.permit(name)) {
            None => Ok(()),
            Some(name) => Err(Error::new(
                Code::CertificatePolicy,
                format!("a certificate for `{name}` is refused: the authority is constrained to other names"),
            )
            .hint("widen `constraints` under [certs] in mcrun.toml, then `mcrun certs ca rotate --root`")),
        }
    }

    pub(super) fn chain_of(&self, certificate: CertificateDer<'static>) -> Vec<CertificateDer<'static>> {
        [certificate].into_iter().chain(self.above.iter().cloned()).collect()
    }
}

/// Signs the certificate of a holder.
pub(super) fn certificate(
    signer: &Signer,
    request: &Request<'_>,
    serial: &Serial,
    now: Timestamp,
    url: Option<&str>,
) -> Result<Made> {
    let profile = request.profile;
    let lifetime = request.lifetime.unwrap_or(profile.lifetime);
    if lifetime > profile.longest {
        let message = format!(
            "the profile `{}` allows {} at most, not {}",
            profile.name,
            effect::units::Span(profile.longest),
            effect::units::Span(lifetime)
        );
        return Err(Error::new(Code::CertificatePolicy, message)
            .hint(format!("ask for less, or set `longest` under [certs.profiles.{}]", profile.name)));
    }
    let not_before = whole_seconds(earlier(now, BACKDATED).max(signer.not_before));
    // A certificate that outlived its authority would be refused by everybody.
    let not_after = whole_seconds(now.after(lifetime).min(signer.not_after));
    let public = SubjectPublicKeyInfo::from_der(request.public)
        .map_err(|error| Error::new(Code::CertificateKey, "the key cannot be certified").because(error))?;
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial.0));
    params.not_before = moment(not_before)?;
    params.not_after = moment(not_after)?;
    params.distinguished_name = subject(request.names);
    params.subject_alt_names = alternative_names(request.names)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    if is_rsa(request.public) {
        // Peers without ephemeral keys, the reason for RSA, encrypt the session's key to it.
        params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
    }
    let usages = [
        profile.server.then_some(ExtendedKeyUsagePurpose::ServerAuth),
        profile.client.then_some(ExtendedKeyUsagePurpose::ClientAuth),
    ];
    params.extended_key_usages = usages.into_iter().flatten().collect();
    params.use_authority_key_identifier_extension = true;
    locate(&mut params, &signer.id, url);
    params.custom_extensions.extend(profile.extensions.iter().map(custom));
    let made = params.signed_by(&public, &signer.issuer).map_err(signing)?;
    Ok(Made { der: made.der().clone(), not_before, not_after })
}

/// A short name for people: browsers look at the alternative names only.
fn subject(names: &Names) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    let first = names.first().to_string();
    if first.len() <= LONGEST_COMMON_NAME {
        subject.push(DnType::CommonName, first);
    }
    subject
}

/// Says where the list of revoked certificates and the issuer's own certificate are found.
pub(super) fn locate(params: &mut CertificateParams, issuer: &str, url: Option<&str>) {
    let Some(url) = url else { return };
    let url = url.trim_end_matches('/');
    params.crl_distribution_points =
        vec![CrlDistributionPoint { uris: vec![format!("{url}/crl/{issuer}.crl")] }];
    let location = format!("{url}/ca/{issuer}.cer");
    let content = yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_sequence(|writer| {
                writer.next().write_oid(&yasna::models::ObjectIdentifier::from_slice(&CA_ISSUERS));
                // uniformResourceIdentifier, [6] IMPLICIT IA5String
                writer.next().write_tagged_implicit(yasna::Tag::context(6), |writer| {
                    writer.write_ia5_string(&location);
                });
            });
        });
    });
    params.custom_extensions.push(CustomExtension::from_oid_content(&AUTHORITY_INFO, content));
}

fn custom(extension: &Extension) -> CustomExtension {
    let mut custom = CustomExtension::from_oid_content(&extension.oid, extension.value.clone());
    custom.set_criticality(extension.critical);
    custom
}

fn is_rsa(public: &[u8]) -> bool {
    use x509_parser::prelude::FromDer as _;
    x509_parser::x509::SubjectPublicKeyInfo::from_der(public)
        .is_ok_and(|(_, info)| info.algorithm.algorithm.to_id_string() == "1.2.840.113549.1.1.1")
}

/// Domains and networks beyond which nothing is valid.
#[derive(Debug, Clone, Default)]
pub(super) struct Constraints {
    domains: Vec<String>,
    networks: Vec<(IpAddr, u8)>,
}

impl Constraints {
    /// Reads them as mcrun.toml has them: `mcrun.test`, `10.0.0.0/8`.
    pub(super) fn parse(texts: &[String]) -> Result<Self> {
        let mut constraints = Self::default();
        for text in texts {
            let wrong = || {
                Error::new(
                    Code::Config,
                    format!("[certs] constraints: `{text}` is neither domain nor network"),
                )
            };
            match text.split_once('/') {
                Some((address, bits)) => {
                    let address: IpAddr = address.parse().map_err(|_| wrong())?;
                    let bits: u8 = bits.parse().map_err(|_| wrong())?;
                    let longest = if address.is_ipv4() { 32 } else { 128 };
                    if bits > longest {
                        return Err(wrong());
                    }
                    constraints.networks.push((address, bits));
                }
                None => match text.parse::<Name>() {
                    Ok(Name::Dns(domain)) if !domain.starts_with('*') => constraints.domains.push(domain),
                    _ => return Err(wrong()),
                },
            }
        }
        Ok(constraints)
    }

    fn is_empty(&self) -> bool {
        self.domains.is_empty() && self.networks.is_empty()
    }

    fn permit(&self, name: &Name) -> bool {
        match name {
            _ if self.is_empty() => true,
            Name::Dns(_) => self.domains.iter().any(|domain| name.is_within(domain)),
            Name::Ip(address) => self.networks.iter().any(|network| contains(*network, *address)),
        }
    }

    /// The extension of RFC 5280, section 4.2.1.10. A kind of name of which none is permitted is excluded whole: what is
    /// not mentioned would be free.
    pub(super) fn extension(&self) -> Option<NameConstraints> {
        if self.is_empty() {
            return None;
        }
        let domains = self.domains.iter().cloned().map(GeneralSubtree::DnsName);
        let networks = self
            .networks
            .iter()
            .map(|(address, bits)| GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(*address, *bits)));
        let everything = |v4: bool| {
            let address: IpAddr = if v4 { [0; 4].into() } else { [0; 16].into() };
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, 0))
        };
        let mut excluded = Vec::new();
        for is_v4 in [true, false] {
            if !self.networks.iter().any(|(address, _)| address.is_ipv4() == is_v4) {
                excluded.push(everything(is_v4));
            }
        }
        if self.domains.is_empty() {
            excluded.push(GeneralSubtree::DnsName(String::new()));
        }
        Some(NameConstraints {
            permitted_subtrees: domains.chain(networks).collect(),
            excluded_subtrees: excluded,
        })
    }
}

fn contains((network, bits): (IpAddr, u8), address: IpAddr) -> bool {
    let of = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let ((network, width), (address, other)) = (of(network), of(address));
    let shift = width - u32::from(bits);
    width == other && (shift == 128 || network >> shift == address >> shift)
}

/// A moment as certificates have it.
pub(super) fn moment(at: Timestamp) -> Result<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(at.0.div_euclid(1000))
        .map_err(|error| Error::new(Code::Internal, "a moment lies outside of the calendar").because(error))
}

/// `span` before `at`.
pub(super) fn earlier(at: Timestamp, span: Duration) -> Timestamp {
    Timestamp(at.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
}

fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp(at.0.div_euclid(1000) * 1000)
}

pub(super) fn signing(error: rcgen::Error) -> Error {
    Error::new(Code::Internal, "a certificate could not be made").because(error)
}
