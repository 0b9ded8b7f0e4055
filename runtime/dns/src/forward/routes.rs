//! Owns whom a name is asked of: the longest zone that others know best, then what is special about the name, then the
//! resolvers with their fallback.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use effect::{Code, Error, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::peer::Peer;
use super::question::{Question, shown, suffixes};
use super::race::Upstreams;
use super::reply::Reply;
use super::settings::{Settings, zone_name};
use super::special;
use super::stream::Tls;
use super::trace::{Step, Steps};
use super::upstream::Upstream;

/// Whom to ask.
pub(super) struct Routes {
    pub(super) peers: Vec<Arc<Peer>>,
    zones: HashMap<Box<[u8]>, Upstreams>,
    public: Upstreams,
    /// Those of the resolvers that may know the names of a private network.
    private: Upstreams,
}

/// Where an answer comes from.
pub(super) enum Route<'a> {
    Ask(&'a Upstreams),
    Here(Reply),
    Nobody,
}

impl Routes {
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        let mut crowd = Crowd { tls: None, ca: settings.ca.as_deref(), peers: Vec::new() };
        let resolvers = crowd.peers(&settings.resolvers)?;
        let fallback = crowd.peers(&settings.fallback)?;
        let private = resolvers.iter().filter(|peer| peer.upstream.is_private()).cloned().collect();
        let mut zones = HashMap::new();
        for (zone, upstreams) in &settings.zones {
            zones.insert(zone_name(zone)?, Upstreams::new(crowd.peers(upstreams)?));
        }
        let public = Upstreams::new(resolvers.into_iter().chain(fallback).collect());
        Ok(Self { peers: crowd.peers, zones, public, private: Upstreams::new(private) })
    }

    /// The way of a question.
    pub(super) fn of(&self, question: &Question<'_>, steps: &Steps) -> Route<'_> {
        let zone = suffixes(question.name).find_map(|suffix| Some((suffix, self.zones.get(suffix)?)));
        if let Some((zone, upstreams)) = zone {
            steps.push(Step::Zone(shown(zone)));
            return Route::Ask(upstreams);
        }
        let kind = special::kind(question.name);
        let upstreams = match kind {
            special::Kind::Public => &self.public,
            special::Kind::Private(_) if !self.private.is_empty() => &self.private,
            _ => {
                steps.push(Step::Local);
                return special::answer(question, kind).map_or(Route::Nobody, Route::Here);
            }
        };
        if upstreams.is_empty() {
            steps.push(Step::Nobody);
            return Route::Nobody;
        }
        Route::Ask(upstreams)
    }
}

/// Peers as they are made: one for each upstream, however many lists name it.
struct Crowd<'a> {
    tls: Option<Arc<ClientConfig>>,
    ca: Option<&'a Path>,
    peers: Vec<Arc<Peer>>,
}

/// One upstream by itself, with the system's authorities.
pub(super) fn alone(upstream: &Upstream) -> Result<Arc<Peer>> {
    Crowd { tls: None, ca: None, peers: Vec::new() }.peer(upstream)
}

impl Crowd<'_> {
    fn peers(&mut self, upstreams: &[Upstream]) -> Result<Vec<Arc<Peer>>> {
        upstreams.iter().map(|upstream| self.peer(upstream)).collect()
    }

    fn peer(&mut self, upstream: &Upstream) -> Result<Arc<Peer>> {
        if let Some(known) = self.peers.iter().find(|peer| peer.upstream == *upstream) {
            return Ok(Arc::clone(known));
        }
        let tls = match &upstream.name {
            Some(name) => Some(Tls { config: self.tls()?, name: name.clone() }),
            None => None,
        };
        let peer = Arc::new(Peer::new(upstream.clone(), tls));
        self.peers.push(Arc::clone(&peer));
        Ok(peer)
    }

    fn tls(&mut self) -> Result<Arc<ClientConfig>> {
        if let Some(tls) = &self.tls {
            return Ok(Arc::clone(tls));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::new(Code::Internal, "TLS cannot be set up").because(error))?
            .with_root_certificates(roots(self.ca)?)
            .with_no_client_auth();
        Ok(Arc::clone(self.tls.insert(Arc::new(config))))
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca else {
        // Single certificates that nobody can parse are no reason to trust none.
        let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return if added > 0 { Ok(roots) } else { Err(no_authorities()) };
    };
    let bad = |cause: &dyn std::fmt::Display| {
        let message = format!("`{}` (`dns.forward.ca`) is not a file of certificates", path.display());
        Error::new(Code::Config, message).because(cause)
    };
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .map_err(|error| bad(&error))?;
    if found.is_empty() {
        return Err(bad(&"it contains none"));
    }
    for certificate in found {
        roots.add(certificate).map_err(|error| bad(&error))?;
    }
    Ok(roots)
}

fn no_authorities() -> Error {
    Error::new(Code::Config, "this machine has no certificate authorities to check DNS over TLS against")
        .hint("install ca-certificates, or name a file with `ca` under [dns.forward]")
}
