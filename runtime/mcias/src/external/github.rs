//! Owns what GitHub is asked: a token for the code, the user, and the addresses.

use serde::Deserialize;

use super::{Connected, Exchange, Facts, Failed, Wrong, nonsense, subject};

#[derive(Deserialize)]
struct Token {
    access_token: String,
}

#[derive(Deserialize)]
struct User {
    /// Names change hands, numbers do not.
    id: u64,
}

#[derive(Deserialize)]
struct Address {
    email: String,
    primary: bool,
    verified: bool,
}

pub(super) async fn facts(known: &Connected, exchange: &Exchange<'_>) -> Result<Facts, Failed> {
    let settings = &known.settings;
    // GitHub says what is wrong with status 200, so an answer without a token is a refusal.
    let token = known.redeem::<Token>(&settings.github_token(), exchange).await;
    let token = token.map_err(|error| (Wrong::Exchange, error))?.access_token;
    let user: User = known
        .read(&settings.github_call("/user"), Some(&token))
        .await
        .map_err(|error| (Wrong::Profile, error))?;
    let addresses: Vec<Address> = known
        .read(&settings.github_call("/user/emails"), Some(&token))
        .await
        .map_err(|error| (Wrong::Email, error))?;
    let verified = addresses.into_iter().find(|address| address.primary && address.verified);
    let subject =
        subject(&user.id.to_string()).ok_or((Wrong::Profile, nonsense("the user has no number")))?;
    Ok(Facts {
        provider: known.name.clone(),
        subject,
        verified_email: verified.and_then(|address| address.email.parse().ok()),
    })
}
