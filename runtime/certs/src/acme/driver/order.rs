//! Owns one order on its way: proving the names, having it carried out, fetching the chain. It goes on from whatever state
//! the authority says that the order is in.

use std::time::Duration;

use effect::{Code, Error, Result};
use instant_acme::{
    AuthorizationStatus, CertificateIdentifier, ChallengeStatus, Identifier, NewOrder, OrderStatus, Problem,
};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::challenge::Offer;
use super::session::{Session, ask, is_problem};
use super::{Challenge, ChallengeKind, Responders};
use crate::certificate::chain_from_pem;
use crate::chain;
use crate::driver::{Order, Progress};
use crate::names::{Name, Names};
use crate::peer;

/// RFC 8555 leaves the length open; nobody's are longer.
const LONGEST_TOKEN: usize = 256;
const FIRST_LOOK: Duration = Duration::from_millis(200);
const RAREST_LOOK: Duration = Duration::from_secs(10);
/// An authority that leads round in circles is left.
const MOST_STEPS: u32 = 8;

/// What is noted of an order, so that a later attempt goes on with it.
#[derive(Serialize, Deserialize)]
struct Noted {
    directory: String,
    order: String,
}

/// The chain for `order`.
pub(super) async fn carry_out(
    session: &Session,
    responders: &Responders,
    preferred: Option<&str>,
    order: &Order<'_>,
    progress: &dyn Progress,
) -> Result<Vec<CertificateDer<'static>>> {
    let url = &session.traffic.directory;
    let mut open = match resumed(session, progress).await? {
        Some(open) => open,
        None => begun(session, order, progress).await?,
    };
    for _ in 0..MOST_STEPS {
        match open.state().status {
            OrderStatus::Pending => {
                prove(session, responders, order.names, &mut open).await?;
                settle(session, &mut open, OrderStatus::Pending).await?;
            }
            OrderStatus::Ready => finalize(session, order, &mut open).await?,
            OrderStatus::Processing => settle(session, &mut open, OrderStatus::Processing).await?,
            OrderStatus::Valid => return fetch(session, preferred, &mut open).await,
            OrderStatus::Invalid => return Err(invalid(session, &mut open)),
        }
    }
    Err(peer::garbage(url, "the order never gets any further"))
}

/// The order of an earlier attempt, if it can still be carried out.
async fn resumed(session: &Session, progress: &dyn Progress) -> Result<Option<instant_acme::Order>> {
    let Some(noted) = progress.noted().and_then(|text| serde_json::from_str::<Noted>(text).ok()) else {
        return Ok(None);
    };
    if noted.directory != session.traffic.directory.as_str() {
        return Ok(None);
    }
    // An authority that does not know the order any more cannot have its certificate either.
    let order = ask!(session.traffic, "the order", async {
        match session.account.order(noted.order.clone()).await {
            Ok(order) => Ok(Some(order)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    })?;
    Ok(order.and_then(|mut order| (order.state().status != OrderStatus::Invalid).then_some(order)))
}

async fn begun(session: &Session, order: &Order<'_>, progress: &dyn Progress) -> Result<instant_acme::Order> {
    let identifiers: Vec<Identifier> = order.names.as_slice().iter().map(identifier).collect();
    let what = format!("an order for {}", order.names);
    let replaced = order.replaces.and_then(|certificate| CertificateIdentifier::try_from(certificate).ok());
    let made = match replaced {
        // What is said to be replaced only helps the authority to plan: without it the order is as good.
        Some(replaced) => {
            let wanted = NewOrder::new(&identifiers).replaces(replaced);
            let made: Result<_> = ask!(session.traffic, &what, session.account.new_order(&wanted));
            match made {
                Err(error) if !error.retryable => {
                    tracing::info!(target: "certs", %error, "ordering without naming what is replaced");
                    ask!(session.traffic, &what, session.account.new_order(&NewOrder::new(&identifiers)))?
                }
                made => made?,
            }
        }
        None => ask!(session.traffic, &what, session.account.new_order(&NewOrder::new(&identifiers)))?,
    };
    let noted = Noted { directory: session.traffic.directory.to_string(), order: made.url().to_owned() };
    let noted = serde_json::to_string(&noted)
        .map_err(|error| Error::new(Code::Internal, "an order cannot be noted").because(error))?;
    progress.note(&noted).await?;
    Ok(made)
}

fn identifier(name: &Name) -> Identifier {
    match name {
        Name::Dns(name) => Identifier::Dns(name.clone()),
        Name::Ip(address) => Identifier::Ip(*address),
    }
}

/// One authorization as far as it matters.
struct Authorization {
    status: AuthorizationStatus,
    name: Name,
    is_wildcard: bool,
    challenges: Vec<Offered>,
}

struct Offered {
    kind: ChallengeKind,
    token: String,
    status: ChallengeStatus,
    error: Option<Problem>,
}

/// What is done with an authorization besides reading it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Read,
    Refresh,
    Ready(ChallengeKind),
}

/// Proves every name that is not proven yet.
async fn prove(
    session: &Session,
    responders: &Responders,
    names: &Names,
    open: &mut instant_acme::Order,
) -> Result<()> {
    let count = open.state().authorizations.len();
    if count > names.as_slice().len() {
        return Err(peer::garbage(
            &session.traffic.directory,
            "it asks for more proofs than there are names",
        ));
    }
    let mut offers = Vec::new();
    let proven = prove_each(session, responders, count, open, &mut offers).await;
    for offer in offers {
        offer.withdraw().await;
    }
    proven
}

async fn prove_each(
    session: &Session,
    responders: &Responders,
    count: usize,
    open: &mut instant_acme::Order,
    offers: &mut Vec<Offer>,
) -> Result<()> {
    let mut pending = Vec::new();
    for index in 0..count {
        let authorization = visit(session, open, index, Act::Read).await?;
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            _ => return Err(unproven(session, &authorization, None)),
        }
        let (responder, offered) =
            responders.choose(&authorization.name, authorization.is_wildcard, |kind| {
                authorization.challenges.iter().find(|offered| offered.kind == kind)
            })?;
        let challenge = Challenge {
            kind: offered.kind,
            name: authorization.name.clone(),
            token: checked(session, &offered.token)?,
            key_authorization: format!("{}.{}", offered.token, session.account.key_thumbprint()),
        };
        offers.push(Offer::make(responder, challenge).await?);
        pending.push((index, offered.kind, offered.status));
    }
    for (index, kind, status) in &pending {
        // One that an earlier attempt called ready is being looked at already.
        if *status == ChallengeStatus::Pending {
            ready(session, open, *index, *kind).await?;
        }
    }
    for (index, kind, _) in pending {
        watch(session, open, index, kind).await?;
    }
    Ok(())
}

async fn ready(
    session: &Session,
    open: &mut instant_acme::Order,
    index: usize,
    kind: ChallengeKind,
) -> Result<()> {
    let Err(error) = visit(session, open, index, Act::Ready(kind)).await else { return Ok(()) };
    // Two orders may share an authorization: what the other one proved meanwhile is proven.
    let now = visit(session, open, index, Act::Refresh).await?;
    let is_under_way = now
        .challenges
        .iter()
        .any(|offered| offered.kind == kind && offered.status != ChallengeStatus::Pending);
    if now.status != AuthorizationStatus::Pending || is_under_way { Ok(()) } else { Err(error) }
}

/// Looks until a proof was checked.
async fn watch(
    session: &Session,
    open: &mut instant_acme::Order,
    index: usize,
    kind: ChallengeKind,
) -> Result<()> {
    let mut look = FIRST_LOOK;
    loop {
        let authorization = visit(session, open, index, Act::Refresh).await?;
        match authorization.status {
            AuthorizationStatus::Valid => return Ok(()),
            AuthorizationStatus::Pending => {}
            _ => return Err(unproven(session, &authorization, Some(kind))),
        }
        look = rest(session, look).await;
    }
}

/// Waits until the authority wants to be looked at again; how long the next wait is at most.
async fn rest(session: &Session, look: Duration) -> Duration {
    let wait = session.traffic.retry_after().map_or(look, |asked| asked.clamp(FIRST_LOOK, RAREST_LOOK));
    tokio::time::sleep(wait).await;
    (look * 2).min(RAREST_LOOK)
}

async fn visit(
    session: &Session,
    open: &mut instant_acme::Order,
    index: usize,
    act: Act,
) -> Result<Authorization> {
    ask!(session.traffic, "a proof", nth(open, index, act))
}

async fn nth(
    open: &mut instant_acme::Order,
    index: usize,
    act: Act,
) -> Result<Authorization, instant_acme::Error> {
    let missing = || instant_acme::Error::Str("an authorization");
    let mut all = open.authorizations();
    for _ in 0..index {
        all.next().await.ok_or_else(missing)??;
    }
    let mut found = all.next().await.ok_or_else(missing)??;
    match act {
        Act::Read => {}
        Act::Refresh => {
            found.refresh().await?;
        }
        Act::Ready(kind) => {
            let now = read(&found)?;
            found.challenge(theirs(kind)).ok_or_else(missing)?.set_ready().await?;
            return Ok(now);
        }
    }
    read(&found)
}

fn read(found: &instant_acme::AuthorizationState) -> Result<Authorization, instant_acme::Error> {
    let identifier = found.identifier();
    let name = match identifier.identifier {
        Identifier::Dns(name) => {
            name.parse().map_err(|_| instant_acme::Error::Str("a name that can be one"))?
        }
        Identifier::Ip(address) => Name::Ip(*address),
        _ => return Err(instant_acme::Error::Str("a name of a known kind")),
    };
    let ours = |challenge: &instant_acme::Challenge| {
        Some(Offered {
            kind: ours(&challenge.r#type)?,
            token: challenge.token.clone(),
            status: challenge.status,
            error: challenge.error.clone(),
        })
    };
    Ok(Authorization {
        status: found.status,
        name,
        is_wildcard: identifier.wildcard,
        challenges: found.challenges.iter().filter_map(ours).collect(),
    })
}

fn theirs(kind: ChallengeKind) -> instant_acme::ChallengeType {
    match kind {
        ChallengeKind::Http => instant_acme::ChallengeType::Http01,
        ChallengeKind::Dns => instant_acme::ChallengeType::Dns01,
        ChallengeKind::TlsAlpn => instant_acme::ChallengeType::TlsAlpn01,
    }
}

fn ours(kind: &instant_acme::ChallengeType) -> Option<ChallengeKind> {
    match kind {
        instant_acme::ChallengeType::Http01 => Some(ChallengeKind::Http),
        instant_acme::ChallengeType::Dns01 => Some(ChallengeKind::Dns),
        instant_acme::ChallengeType::TlsAlpn01 => Some(ChallengeKind::TlsAlpn),
        _ => None,
    }
}

/// Tokens become paths and records: nothing but what RFC 8555, section 8.1, allows goes there.
fn checked(session: &Session, token: &str) -> Result<String> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if token.is_empty() || token.len() > LONGEST_TOKEN || !token.bytes().all(is_fine) {
        return Err(peer::garbage(
            &session.traffic.directory,
            "its challenge has a token that cannot be one",
        ));
    }
    Ok(token.to_owned())
}

fn unproven(session: &Session, authorization: &Authorization, kind: Option<ChallengeKind>) -> Error {
    let tried = authorization
        .challenges
        .iter()
        .find(|offered| Some(offered.kind) == kind || kind.is_none() && offered.error.is_some());
    let what = format!("the proof of `{}`", authorization.name);
    match tried.and_then(|offered| offered.error.as_ref()) {
        Some(problem) => session.traffic.problem(&what, problem),
        None => peer::refused(
            &session.traffic.directory,
            &what,
            &format!("it is {:?}", authorization.status).to_lowercase(),
        ),
    }
}

async fn finalize(session: &Session, order: &Order<'_>, open: &mut instant_acme::Order) -> Result<()> {
    let request = order.key.request(order.names)?;
    let what = format!("the request for {}", order.names);
    ask!(session.traffic, &what, async {
        match open.finalize_csr(&request).await {
            // An earlier request arrived after all: the order's state tells.
            Err(error) if is_problem(&error, "orderNotReady") => open.refresh().await.map(drop),
            other => other,
        }
    })
}

/// Looks until the order has left `state`.
async fn settle(session: &Session, open: &mut instant_acme::Order, state: OrderStatus) -> Result<()> {
    let mut look = FIRST_LOOK;
    loop {
        let now = ask!(session.traffic, "the order", async { open.refresh().await.map(|now| now.status) })?;
        if now != state {
            return Ok(());
        }
        look = rest(session, look).await;
    }
}

fn invalid(session: &Session, open: &mut instant_acme::Order) -> Error {
    match &open.state().error {
        Some(problem) => session.traffic.problem("the order", problem),
        None => peer::refused(&session.traffic.directory, "the order", "it gave no reason"),
    }
}

async fn fetch(
    session: &Session,
    preferred: Option<&str>,
    open: &mut instant_acme::Order,
) -> Result<Vec<CertificateDer<'static>>> {
    let pem = ask!(session.traffic, "the certificate", open.certificate())?;
    let pem = pem.ok_or_else(|| peer::garbage(&session.traffic.directory, "the certificate is not there"))?;
    let alternates = session.traffic.alternates();
    let first = ordered(&pem)?;
    let Some(preferred) = preferred else { return Ok(first) };
    if chain::root_name(&first).as_deref() == Some(preferred) {
        return Ok(first);
    }
    for url in &alternates {
        let body = ask!(session.traffic, "another chain", session.fetch(url))?;
        let other = ordered(&String::from_utf8_lossy(&body))?;
        if chain::root_name(&other).as_deref() == Some(preferred) {
            return Ok(other);
        }
    }
    tracing::warn!(target: "certs", preferred, "no chain leads to that root: the first one is taken");
    Ok(first)
}

fn ordered(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    let mut sent = chain_from_pem(pem)?;
    let first = sent.remove(0);
    chain::arranged(first, &sent)
}

/// Whether an authority says that there is no such order.
fn is_gone(error: &instant_acme::Error) -> bool {
    matches!(error, instant_acme::Error::Api(problem) if problem.status == Some(404))
}
