//! Owns how a certificate is ordered: the key is kept first, then the authority asked, its answer checked, and only then
//! recorded and written. Cut anywhere, the same order is gone on with.

use std::time::Duration;

use async_trait::async_trait;
use effect::units::Span;
use effect::{Code, Context, Error, Result, reached};
use journal::Journal;
use serde_json::json;

use super::World;
use crate::certificate::{Certificate, check_answer, to_pem};
use crate::driver::{Order, Progress, check_features, needed, new_token};
use crate::files::Placement;
use crate::key::{Key, KeyType};
use crate::names::Names;
use crate::policy::Applicant;
use crate::profile::Profile;
use crate::renewal;
use crate::store::{self, Open};

/// An order that was cut is not gone on with for ever: authorities forget theirs after a week or so.
const STALE: Duration = Duration::from_secs(5 * 86_400);

/// A certificate as it is wanted.
pub(super) struct Wish<'a> {
    pub(super) id: &'a str,
    pub(super) names: &'a Names,
    pub(super) profile: &'a Profile,
    pub(super) key_type: KeyType,
    pub(super) lifetime: Option<Duration>,
    pub(super) service: Option<&'a str>,
    pub(super) files: Option<Placement>,
}

impl Wish<'_> {
    /// Refuses what policy or driver do not have; asked when planning and when applying, new or renewed.
    pub(super) fn admit(&self, world: &World, context: &Context) -> Result<()> {
        // Wildcards have a capability of their own, which the corridor has asked for.
        let applicant = Applicant { service: self.service, wildcards: true };
        world.policy().admit(self.names, self.profile, applicant)?;
        if self.lifetime.is_some_and(|lifetime| lifetime > self.profile.longest) {
            let longest = Span(self.profile.longest);
            let message = format!("the profile `{}` allows {longest} at most", self.profile.name);
            return Err(Error::new(Code::CertificatePolicy, message).hint("ask for a shorter `lifetime`"));
        }
        let driver = world.driver(context, self.profile)?;
        check_features(&*driver, &needed(self.names, self.profile, self.key_type, self.lifetime.is_some()))
    }

    /// Has it issued. `act` names what it is done for, where that has a name of its own.
    pub(super) async fn issue(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Certificate>,
        act: Option<&str>,
    ) -> Result<Certificate> {
        self.admit(world, context)?;
        let now = context.now();
        if let Some(before) = before
            && now.after(renewal::CLOCK_SLACK).0 < before.not_before
        {
            let begins = effect::Timestamp(before.not_before);
            let message = format!("the clock shows {now}, and the certificate in use begins at {begins}");
            return Err(Error::new(Code::ClockBehind, message));
        }
        let driver = world.driver(context, self.profile)?;
        let (order, key) = self.open(context, driver.name(), act).await?;
        // Another authority knows nothing of the one before.
        let before = before.filter(|before| before.driver == driver.name());
        let replaced = before.map(Certificate::chain_der).transpose()?;
        let progress = Noted { journal: &context.journal, node: &context.node, id: self.id, order: &order };
        let issued = driver
            .issue(
                &Order {
                    token: &order.token,
                    names: self.names,
                    profile: self.profile,
                    key: &key,
                    key_type: self.key_type,
                    lifetime: self.lifetime,
                    service: self.service,
                    replaces: replaced.as_ref().and_then(|chain| chain.first()),
                },
                &progress,
            )
            .await?;
        reached("certs:issued");
        let facts = check_answer(&issued.chain, self.names, &key, context.now())?;
        Ok(Certificate {
            id: self.id.to_owned(),
            hostnames: self.names.clone(),
            profile: self.profile.name.clone(),
            key_type: self.key_type,
            lifetime: self.lifetime.map(Span),
            service: self.service.map(str::to_owned),
            driver: driver.name().to_owned(),
            renew_at: renewal::moment(facts.not_before, facts.not_after, &facts.serial).0,
            serial: facts.serial,
            fingerprint: facts.fingerprint,
            not_before: facts.not_before.0,
            not_after: facts.not_after.0,
            chain: to_pem(&issued.chain),
            roots: to_pem(&driver.roots().await?),
            files: self.files.clone(),
            amiss: Vec::new(),
            key: order.key,
            order: order.act.unwrap_or(order.token),
            revoked: false,
        })
    }

    /// The order under way for exactly this, or a new one with a new key.
    async fn open(&self, context: &Context, driver: &str, act: Option<&str>) -> Result<(Open, Key)> {
        let request = json!([driver, self.names, self.profile.name, self.key_type, self.service]).to_string();
        // What a cut order of a short-lived certificate would bring is old by now.
        let stale = STALE.min(self.lifetime.unwrap_or(self.profile.lifetime) / 3);
        let known = store::order(&context.journal, &context.node, self.id).await?;
        let goes_on = |open: &Open| {
            open.request == request && context.now().since(open.at) < stale && act == open.act.as_deref()
        };
        if let Some(open) = known.filter(goes_on) {
            let pem = context.sealer.open_hidden(&open.key)?;
            let key = Key::from_pem(&String::from_utf8_lossy(&pem))?;
            return Ok((open, key));
        }
        let kind = self.key_type;
        // RSA takes its time.
        let key = tokio::task::spawn_blocking(move || Key::generate(kind))
            .await
            .map_err(|error| Error::ended("making a key ended early", &error))??;
        let open = Open {
            token: new_token()?,
            act: act.map(str::to_owned),
            request,
            key: context.sealer.hide(key.to_pem().as_bytes()),
            noted: None,
            at: context.now(),
        };
        context.journal.write(vec![store::order_write(&context.node, self.id, &open)]).await?;
        reached("certs:ordered");
        Ok((open, key))
    }
}

/// Tells that `certificate` took the place of the one before it.
pub(super) async fn tell_renewed(
    context: &Context,
    before: &Certificate,
    certificate: &Certificate,
) -> Result<()> {
    let hostnames: Vec<String> = certificate.hostnames.as_slice().iter().map(ToString::to_string).collect();
    let expires = effect::Timestamp(certificate.not_after).to_string();
    let data = json!({
        "id": certificate.id,
        "hostnames": hostnames,
        "expires": expires,
        "serial": certificate.serial,
        "replaced": before.serial,
        "not_after": expires,
    });
    Ok(context.journal.emit("certs.renewed", &data.to_string()).await?)
}

/// Writes the files of a certificate.
pub(super) async fn place(world: &World, context: &Context, certificate: &Certificate) -> Result<()> {
    let Some(placement) = &certificate.files else { return Ok(()) };
    let key = world.key_of(context, certificate)?;
    for wanted in placement.wanted(certificate, &key) {
        world.files().put(context, &wanted).await?;
        reached("certs:placed");
    }
    Ok(())
}

/// Takes the files of a certificate away.
pub(super) async fn displace(world: &World, context: &Context, placement: &Placement) -> Result<()> {
    for path in placement.paths() {
        world.files().remove(context, path.as_ref()).await?;
    }
    Ok(())
}

/// Notes how far an order is in its record.
struct Noted<'a> {
    journal: &'a Journal,
    node: &'a str,
    id: &'a str,
    order: &'a Open,
}

#[async_trait]
impl Progress for Noted<'_> {
    fn noted(&self) -> Option<&str> {
        self.order.noted.as_deref()
    }

    async fn note(&self, text: &str) -> Result<()> {
        let order = Open { noted: Some(text.to_owned()), ..self.order.clone() };
        self.journal.write(vec![store::order_write(self.node, self.id, &order)]).await?;
        Ok(())
    }
}
