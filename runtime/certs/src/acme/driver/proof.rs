//! Owns the proofs that one order needs: reading what the authority asks for, offering it, and watching it being checked.

use effect::{Error, Result};
use instant_acme::{AuthorizationStatus, ChallengeStatus, Identifier, Problem};

use super::challenge::Offer;
use super::order::{FIRST_LOOK, rest};
use super::session::{Session, ask};
use super::{Challenge, ChallengeKind, Responders};
use crate::names::{Name, Names};
use crate::peer;

/// RFC 8555 leaves the length open; nobody's are longer.
const LONGEST_TOKEN: usize = 256;

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
pub(super) async fn of_all(
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
    let proven = of_each(session, responders, count, open, &mut offers).await;
    for offer in offers {
        offer.withdraw().await;
    }
    proven
}

async fn of_each(
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
