//! Owns one order on its way: having it carried out, fetching the chain. It goes on from whatever state the authority
//! says that the order is in. Leaves proving the names to `proof.rs`.
//!
//! RFC 8555 knows no order by a word of ours: an attempt that dies before it could note where its order is leaves an
//! order that nobody carries out, and the next one begins another. There is never a second certificate.

use std::time::Duration;

use effect::{Code, Error, Result};
use instant_acme::{CertificateIdentifier, Identifier, NewOrder, OrderStatus};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::session::{Session, ask, is_problem};
use super::{Responders, proof};
use crate::certificate::chain_from_pem;
use crate::chain;
use crate::driver::{Order, Progress};
use crate::names::Name;
use crate::peer;

pub(super) const FIRST_LOOK: Duration = Duration::from_millis(200);
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
    if let Some(open) = resumed(session, progress).await? {
        match go_on(session, responders, preferred, order, open).await {
            // The names may have been looked at while nobody was there to answer: an order that failed for that has no
            // certificate and never will.
            Err(error) if error.code == Code::AuthorityRefused => {
                tracing::info!(target: "certs", %error, "the order of an earlier attempt failed: ordering anew");
            }
            carried_out => return carried_out,
        }
    }
    let open = begun(session, order, progress).await?;
    go_on(session, responders, preferred, order, open).await
}

/// Brings an order from whatever state it is in to its certificate.
async fn go_on(
    session: &Session,
    responders: &Responders,
    preferred: Option<&str>,
    order: &Order<'_>,
    mut open: instant_acme::Order,
) -> Result<Vec<CertificateDer<'static>>> {
    let url = &session.traffic.directory;
    for _ in 0..MOST_STEPS {
        match open.state().status {
            OrderStatus::Pending => {
                proof::of_all(session, responders, order.names, &mut open).await?;
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

/// Waits until the authority wants to be looked at again; how long the next wait is at most.
pub(super) async fn rest(session: &Session, look: Duration) -> Duration {
    let wait = session.traffic.retry_after().map_or(look, |asked| asked.clamp(FIRST_LOOK, RAREST_LOOK));
    tokio::time::sleep(wait).await;
    (look * 2).min(RAREST_LOOK)
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
