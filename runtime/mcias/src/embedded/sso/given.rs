//! Owns what clients do with what they were given: asking who somebody is, giving a token back, and having somebody sign out.

use effect::Result;
use serde_json::Value;

use super::super::Embedded;
use crate::driver::Holder;
use crate::name::Name;
use crate::sso::{self, Denial, Kind, Pairs, Scopes};

/// What a wish to sign out comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    /// Whether the client showed that it knows who is signed in; else they are asked, lest any site signs them out.
    pub is_certain: bool,
    /// Where the browser goes afterwards, where it goes anywhere.
    pub back: Option<String>,
}

impl Embedded {
    /// What the client that has this access token may learn.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub async fn userinfo(&self, token: &str) -> Result<std::result::Result<Value, Denial>> {
        let denied = |kind, description| Ok(Err(Denial::new(kind, description)));
        let Ok(holder) = self.holder_of(token).await? else {
            return denied(Kind::InvalidToken, "the access token is none, or is not valid any more");
        };
        let grant = self.standing(&holder).await?.and_then(|standing| standing.grant);
        let Some(grant) = grant else {
            return denied(Kind::InsufficientScope, "the access token was not given by single sign-on");
        };
        let Some(account) = self.account_named(&holder.account).await? else {
            return denied(Kind::InvalidToken, "the access token is none, or is not valid any more");
        };
        Ok(Ok(Value::Object(sso::claims_of(&account, &Scopes::parse(&grant.scope)))))
    }

    /// Takes back an access token that a client gives back (RFC 7009). One that is not its own, or none, is no error.
    ///
    /// # Errors
    /// Where the journal cannot be used.
    pub async fn give_back(
        &self,
        pairs: &Pairs,
        basic: Option<(&str, &str)>,
    ) -> Result<std::result::Result<(), Denial>> {
        let client = match self.asking_client(pairs, basic).await? {
            Ok(client) => client,
            Err(denial) => return Ok(Err(denial)),
        };
        let Some(token) = pairs.get("token") else {
            return Ok(Err(Denial::new(Kind::InvalidRequest, "token is missing")));
        };
        if let Ok(holder) = self.holder_of(token).await?
            && let Some(standing) = self.standing(&holder).await?
            && standing.client.as_ref() == Some(&client.id)
        {
            self.revoke_tokens(&holder.account, std::slice::from_ref(&holder.token)).await?;
        }
        Ok(Ok(()))
    }

    /// What a wish to sign out comes to (OpenID Connect RP-Initiated Logout 1.0). Nobody is signed out by it yet.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub async fn leave(
        &self,
        pairs: &Pairs,
        session: Option<&Holder>,
    ) -> Result<std::result::Result<Leaving, Denial>> {
        let wrong = |description| Ok(Err(Denial::new(Kind::InvalidRequest, description)));
        let hint = match pairs.get("id_token_hint") {
            None => None,
            Some(text) => {
                let public = async |kid: &str| {
                    let key = self.live.keys.named(&self.store, kid, self.now()).await?;
                    Ok(key.map(|key| key.public().to_vec()))
                };
                match sso::hint(text, self.settings.issuer(), public).await? {
                    None => return wrong("id_token_hint is none of this provider"),
                    hint => hint,
                }
            }
        };
        let named = pairs.get("client_id").map(str::parse::<Name>);
        let client = match (named, &hint) {
            (Some(Err(_)), _) => return wrong("there is no such client"),
            (Some(Ok(named)), Some(hint)) if named != hint.client => {
                return wrong("id_token_hint is of another client");
            }
            (Some(Ok(named)), _) => Some(named),
            (None, hint) => hint.as_ref().map(|hint| hint.client.clone()),
        };
        let back = match (pairs.get("post_logout_redirect_uri"), client) {
            (None, _) => None,
            (Some(_), None) => return wrong("post_logout_redirect_uri goes with client_id or id_token_hint"),
            (Some(address), Some(client)) => {
                let client = self.client(&client).await?;
                if !client.is_some_and(|client| client.logout_uris.contains(address)) {
                    return wrong("post_logout_redirect_uri is none that is registered for this client");
                }
                Some(sso::with_parameters(address, &[("state", pairs.get("state"))]))
            }
        };
        let is_theirs = |holder: &Holder| {
            hint.as_ref()
                .is_some_and(|hint| hint.account_id == holder.account_id && hint.session == holder.token)
        };
        Ok(Ok(Leaving { is_certain: session.is_none_or(is_theirs), back }))
    }
}
