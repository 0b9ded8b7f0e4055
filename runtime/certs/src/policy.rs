//! Owns which names may stand in a certificate: one pure function, asked for every certificate alike, new or renewed,
//! for a script, an operator or an ACME account.

use std::collections::BTreeMap;

use effect::{Code, Error, Result};
use globset::{GlobBuilder, GlobMatcher};
use serde::Deserialize;

use crate::names::{Name, Names};
use crate::profile::Profile;

/// Domains that nobody can own on the public net (RFC 6761, RFC 8375, ICANN's `.internal`): an embedded authority may
/// sign for them without being told.
const PRIVATE: [&str; 5] = ["test", "internal", "localhost", "home.arpa", "lan"];

/// What mcrun.toml says about names.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// Internal domains, beyond those that are private anyway.
    pub domains: Vec<String>,
    /// Public domains that certificates of a public profile may name.
    pub public_domains: Vec<String>,
    /// Which names each service may have, as globs; a service that is not listed may have none. Without any entry, names
    /// are bound by domains alone.
    pub services: Option<BTreeMap<String, Vec<String>>>,
    /// IP addresses that may be named, as globs, beyond loopback ones.
    pub addresses: Vec<String>,
    /// Whether every name may stand in a certificate of every profile: for tests of scripts, whose certificates nobody sees.
    #[serde(skip)]
    pub everything: bool,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applicant<'a> {
    /// The service that the certificate is for.
    pub service: Option<&'a str>,
    /// Whether names with `*` were granted to it.
    pub wildcards: bool,
}

/// The rules, ready to be asked.
#[derive(Debug, Clone)]
pub struct Policy {
    internal: Vec<String>,
    public: Vec<String>,
    services: Option<BTreeMap<String, Vec<GlobMatcher>>>,
    addresses: Vec<GlobMatcher>,
    everything: bool,
}

impl Policy {
    /// Checks the rules themselves.
    ///
    /// # Errors
    /// `MC-U002` where a domain or a pattern makes no sense.
    pub fn new(rules: &Rules) -> Result<Self> {
        let own = domains("domains", &rules.domains)?;
        let internal = PRIVATE.into_iter().map(str::to_owned).chain(own).collect();
        let services = rules.services.as_ref().map(|services| {
            let one = |(service, names): (&String, &Vec<String>)| {
                Ok((service.clone(), globs(&format!("services.{service}"), names)?))
            };
            services.iter().map(one).collect::<Result<_>>()
        });
        Ok(Self {
            internal,
            public: domains("public_domains", &rules.public_domains)?,
            services: services.transpose()?,
            addresses: globs("addresses", &rules.addresses)?,
            everything: rules.everything,
        })
    }

    /// The internal domains, as for name constraints.
    #[must_use]
    pub fn internal(&self) -> &[String] {
        &self.internal
    }

    /// Whether a certificate of `profile` may bear `names`.
    ///
    /// # Errors
    /// `MC-E002` naming the first name that is refused and why.
    pub fn admit(&self, names: &Names, profile: &Profile, applicant: Applicant<'_>) -> Result<()> {
        if self.everything {
            return Ok(());
        }
        names.as_slice().iter().try_for_each(|name| self.admit_one(name, profile, applicant))
    }

    fn admit_one(&self, name: &Name, profile: &Profile, applicant: Applicant<'_>) -> Result<()> {
        let refused = |why: &str, hint: String| {
            Err(Error::new(Code::CertificatePolicy, format!("a certificate for `{name}` is refused: {why}"))
                .hint(hint))
        };
        if name.is_wildcard() && !applicant.wildcards {
            return refused(
                "wildcards are not granted",
                format!("grant it: `--allow 'certs:wildcards:{name}'`"),
            );
        }
        let is_internal = self.internal.iter().any(|domain| name.is_within(domain));
        let is_public = self.public.iter().any(|domain| name.is_within(domain));
        match (name, profile.public) {
            (Name::Ip(address), true) => {
                return refused(
                    "a public profile has no addresses",
                    format!("use a host name instead of {address}"),
                );
            }
            (Name::Ip(address), false) => {
                let is_listed = self.addresses.iter().any(|glob| glob.is_match(address.to_string()));
                if !address.is_loopback() && !is_listed {
                    let hint = format!("list it: `addresses = [\"{address}\"]` under [certs] in mcrun.toml");
                    return refused("the address is not listed", hint);
                }
            }
            // The narrower list decides where a public domain has an internal one within: the longest match.
            (Name::Dns(_), true) if is_internal && !self.is_narrower_public(name) => {
                return refused(
                    "it is an internal name, and the profile is public",
                    format!("use the profile `server` for internal names, not `{}`", profile.name),
                );
            }
            (Name::Dns(_), true) if self.covers_internal(name) => {
                return refused(
                    "it stands for an internal name too, and the profile is public",
                    "name each host on its own".into(),
                );
            }
            (Name::Dns(_), true) if !is_public => {
                return refused(
                    "its domain is not listed as public",
                    "list the domain: `public_domains = […]` under [certs] in mcrun.toml".into(),
                );
            }
            (Name::Dns(_), false) if !is_internal && is_public => {
                return refused("it is a public name", "say `profile = \"public\"`".into());
            }
            (Name::Dns(_), false) if !is_internal => {
                return refused(
                    "its domain is not one of the internal ones",
                    "list the domain: `domains = […]` under [certs] in mcrun.toml".into(),
                );
            }
            (Name::Dns(_), _) => {}
        }
        self.admit_service(name, applicant.service)
    }

    fn is_narrower_public(&self, name: &Name) -> bool {
        let longest = |domains: &[String]| {
            domains.iter().filter(|domain| name.is_within(domain)).map(String::len).max().unwrap_or(0)
        };
        longest(&self.public) > longest(&self.internal)
    }

    /// Whether it is a wildcard one label above an internal domain, whose own host it would be good for.
    fn covers_internal(&self, name: &Name) -> bool {
        let parent = |domain: &String| domain.split_once('.').map(|(_, parent)| parent.to_owned());
        name.is_wildcard() && self.internal.iter().any(|domain| parent(domain).as_deref() == name.domain())
    }

    fn admit_service(&self, name: &Name, service: Option<&str>) -> Result<()> {
        let Some(services) = &self.services else { return Ok(()) };
        let refused =
            |message: String, hint: String| Err(Error::new(Code::CertificatePolicy, message).hint(hint));
        let Some(service) = service else {
            return refused(
                format!("a certificate for `{name}` is refused: it is for no service"),
                "say `service = \"…\"`: [certs.services] of mcrun.toml lists the names of each".into(),
            );
        };
        let globs = services.get(service).map(Vec::as_slice).unwrap_or_default();
        if globs.iter().any(|glob| glob.is_match(name.to_string())) {
            return Ok(());
        }
        refused(
            format!("a certificate for `{name}` is refused: the service `{service}` may not have that name"),
            format!("list it under [certs.services] in mcrun.toml: `{service} = [\"{name}\"]`"),
        )
    }
}

fn domains(key: &str, texts: &[String]) -> Result<Vec<String>> {
    let one = |text: &String| match text.parse::<Name>() {
        Ok(Name::Dns(name)) if !name.starts_with('*') => Ok(name),
        _ => Err(Error::new(Code::Config, format!("[certs] {key}: `{text}` is not a domain"))),
    };
    texts.iter().map(one).collect()
}

fn globs(key: &str, texts: &[String]) -> Result<Vec<GlobMatcher>> {
    let one = |text: &String| {
        let glob = GlobBuilder::new(&text.to_ascii_lowercase()).literal_separator(true).build();
        glob.map(|glob| glob.compile_matcher()).map_err(|error| {
            Error::new(Code::Config, format!("[certs] {key}: `{text}` is not a pattern")).because(error)
        })
    };
    texts.iter().map(one).collect()
}
