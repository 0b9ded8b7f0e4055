//! Owns how names are proven to ACME authorities by the other rooms: records through the driver of names, and answers
//! through the proxy in the edge where that has the port at which authorities ask.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use certs::acme::driver::{Challenge, ChallengeKind, Responder, Settings, http_listener, tls_listener};
use certs::effects::Means;
use dns::{Change, Driver, Name, RecordSet, RecordType, Value};
use effect::{Code, Error, Result};
use routes::embedded::Proof;
use routes::{Driver as _, Embedded, Mode};
use tokio::sync::Mutex;

use crate::proxies::Proxies;

/// Nobody shall keep a proof.
const TTL: u32 = 1;
/// Servers of a driver have a change within seconds; secondaries that are notified too.
const PATIENCE: Duration = Duration::from_secs(90);

/// Everything that can prove names here.
pub(crate) struct Proofs {
    names: Arc<dns::effects::World>,
    proxies: Proxies,
}

impl Proofs {
    pub(crate) fn new(names: Arc<dns::effects::World>, proxies: Proxies) -> Self {
        Self { names, proxies }
    }

    /// The edge, with the listener that answers where the edge does not.
    fn answers(&self, kind: ChallengeKind, settings: &Settings, means: &Means) -> Result<Answers> {
        let (port, listener) = match kind {
            ChallengeKind::TlsAlpn => (settings.tls.port(), tls_listener(settings)?),
            _ => (settings.http.port(), http_listener(settings)),
        };
        let edge = self.proxies.embedded(routes::effects::Means {
            journal: means.journal.clone(),
            node: means.node.clone(),
            sealer: means.sealer.clone(),
            secrets: means.secrets.clone(),
            clock: means.clock.clone(),
        });
        let has_http = self.proxies.http_port() == Some(port);
        Ok(Answers { kind, port, has_http, edge, listener, offered: Lock::default() })
    }
}

impl certs::effects::Proofs for Proofs {
    fn responders(&self, settings: &Settings, means: &Means) -> Result<Vec<Arc<dyn Responder>>> {
        let mut responders: Vec<Arc<dyn Responder>> = Vec::new();
        if settings.challenges.contains(&ChallengeKind::Dns) {
            let driver = self.names.driver_with(|| dns::effects::Means {
                journal: means.journal.clone(),
                node: means.node.clone(),
                secrets: means.secrets.clone(),
                clock: means.clock.clone(),
            })?;
            responders.push(Arc::new(Records { driver, changing: Mutex::default() }));
        }
        for kind in [ChallengeKind::Http, ChallengeKind::TlsAlpn] {
            if settings.challenges.contains(&kind) {
                responders.push(Arc::new(self.answers(kind, settings, means)?));
            }
        }
        Ok(responders)
    }
}

/// dns-01 (RFC 8555, section 8.4): values are added to what `_acme-challenge.NAME` has, as a name and its wildcard are
/// proven there side by side.
struct Records {
    driver: Arc<dyn Driver>,
    /// A change reads what is there before: two at once would lose one of the two.
    changing: Mutex<()>,
}

impl Records {
    /// The zone, the name within it, and the value.
    async fn place(&self, challenge: &Challenge) -> Result<(Name, Name, Value)> {
        let name = Name::absolute(&challenge.dns_name())?;
        let zone = dns::zone_of(&*self.driver, &name).await?.ok_or_else(|| {
            Error::new(Code::DnsZone, format!("the dns driver has no zone in which `{name}` lies"))
                .hint("make the zone, or prove names by http-01: `challenges` under [drivers.acme]")
        })?;
        let value = Value::parse(RecordType::TXT, &challenge.dns_value(), &zone)?;
        Ok((zone, name, value))
    }

    /// Makes of the values that are there what `change` says.
    async fn change(&self, zone: &Name, name: &Name, change: impl FnOnce(&mut Vec<Value>)) -> Result<()> {
        let _changing = self.changing.lock().await;
        let found = self.driver.get(zone, name, RecordType::TXT).await?;
        let before = found.map(|set| set.values).unwrap_or_default();
        let mut values = before.clone();
        change(&mut values);
        if values == before {
            return Ok(());
        }
        let change = match values.is_empty() {
            true => Change::removing(name.clone(), RecordType::TXT),
            false => Change::putting(RecordSet::new(name.clone(), RecordType::TXT, TTL, values)?),
        };
        self.driver.change(zone, &change).await
    }
}

#[async_trait]
impl Responder for Records {
    fn kind(&self) -> ChallengeKind {
        ChallengeKind::Dns
    }

    async fn present(&self, challenge: &Challenge) -> Result<()> {
        let (zone, name, value) = self.place(challenge).await?;
        let added = value.clone();
        self.change(&zone, &name, |values| {
            if !values.contains(&added) {
                values.push(added);
            }
        })
        .await?;
        dns::seen(&*self.driver, &name, RecordType::TXT, &value, PATIENCE).await
    }

    async fn withdraw(&self, challenge: &Challenge) -> Result<()> {
        let (zone, name, value) = self.place(challenge).await?;
        self.change(&zone, &name, |values| values.retain(|there| *there != value)).await
    }
}

/// http-01 and tls-alpn-01 (RFC 8555, section 8.3; RFC 8737): the edge answers where it has the port at which authorities
/// ask, a listener of this process where it does not.
struct Answers {
    kind: ChallengeKind,
    /// Where authorities ask, as `http` and `tls` under [drivers.acme] have it.
    port: u16,
    /// Whether plain requests at that port are the edge's.
    has_http: bool,
    edge: Embedded,
    listener: Arc<dyn Responder>,
    /// What the edge offers, and for how many orders: orders may share a pending authorization.
    offered: Lock<HashMap<String, usize>>,
}

impl Answers {
    fn proof(&self, challenge: &Challenge) -> Proof {
        let (token, key_authorization) = (challenge.token.clone(), challenge.key_authorization.clone());
        match self.kind {
            ChallengeKind::TlsAlpn => {
                Proof::TlsAlpn { hostname: challenge.name.to_string(), token, key_authorization }
            }
            _ => Proof::Http { token, key_authorization },
        }
    }

    /// Whether the port is the edge's, as far as that is recorded.
    async fn has_port(&self) -> Result<bool> {
        if self.kind == ChallengeKind::Http {
            return Ok(self.has_http && self.edge.offers_http());
        }
        if !self.edge.offers_tls() {
            return Ok(false);
        }
        let standings = self.edge.list().await?;
        Ok(standings.iter().map(|standing| &standing.route).any(|route| {
            let has_tls = route.cert.is_some() || route.mode == Mode::L4 && !route.hostname.is_any();
            route.listen == self.port && has_tls
        }))
    }

    fn begin(&self, id: String) {
        *self.offered.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default() += 1;
    }

    /// Whether the edge offered it, and no other order needs it any more.
    fn end(&self, id: &str) -> Option<bool> {
        let mut offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        let orders = offered.get_mut(id)?;
        *orders -= 1;
        let is_last = *orders == 0;
        if is_last {
            offered.remove(id);
        }
        Some(is_last)
    }
}

#[async_trait]
impl Responder for Answers {
    fn kind(&self) -> ChallengeKind {
        self.kind
    }

    async fn present(&self, challenge: &Challenge) -> Result<()> {
        if !self.has_port().await? {
            return self.listener.present(challenge).await;
        }
        let proof = self.proof(challenge);
        // Noted before the attempt: what was offered by half is taken back as well.
        self.begin(proof.id());
        match self.edge.offer(&proof).await {
            Err(error) if error.code == Code::ProxyUnavailable => {
                self.withdraw(challenge).await?;
                tracing::debug!(%error, "no edge answers: a listener of this process does");
                self.listener.present(challenge).await
            }
            offered => offered,
        }
    }

    async fn withdraw(&self, challenge: &Challenge) -> Result<()> {
        let proof = self.proof(challenge);
        match self.end(&proof.id()) {
            None => self.listener.withdraw(challenge).await,
            Some(true) => self.edge.withdraw(&proof).await,
            Some(false) => Ok(()),
        }
    }
}
