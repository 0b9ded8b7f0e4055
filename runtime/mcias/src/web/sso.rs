//! Owns what browsers and clients ask of single sign-on by HTTP: authorize, token, userinfo, revoke, discovery. What comes of it
//! is [`crate::embedded`]'s.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderValue, PRAGMA, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use serde_json::json;
use zeroize::Zeroizing;

use super::answer::{self, Answer, Answered, Refused};
use super::asked::Asked;
use super::{KEYS_KEPT, Web, pages};
use crate::embedded::Authorized;
use crate::sso::{self, Denial, Kind, Pairs, paths};

/// Answers what lies beneath `/sso`, and the document that names it all.
pub(super) async fn answer(web: &Web, asked: &Asked<'_>, parts: &[&str]) -> Answered {
    match parts {
        [".well-known", "openid-configuration"] => discovery(web, asked),
        ["sso", "authorize"] => match authorize(web, asked).await {
            // A person sees it.
            Err(refused) => Ok(pages::refused(&refused)),
            answer => answer,
        },
        ["sso", "token"] | ["v1", "sso", "token"] => token(web, asked).await,
        ["sso", "userinfo"] => userinfo(web, asked).await,
        ["sso", "revoke"] => revoke(web, asked).await,
        _ => Err(Refused::unknown()),
    }
}

fn discovery(web: &Web, asked: &Asked<'_>) -> Answered {
    asked.only(&[Method::GET])?;
    let mut answer = answer::json(StatusCode::OK, &sso::document(web.service().settings().issuer()))?;
    answer.headers_mut().insert(CACHE_CONTROL, KEYS_KEPT);
    Ok(answer)
}

/// By GET alone: what comes by POST from a page of somebody else is refused before it gets here.
async fn authorize(web: &Web, asked: &Asked<'_>) -> Answered {
    asked.only(&[Method::GET])?;
    let query = asked.request.uri().query().unwrap_or_default();
    let session = web.session(asked).await?;
    match web.service().authorize(query, session.as_deref(), Some(asked.peer)).await? {
        Authorized::Back(address) => answer::redirect(&address),
        Authorized::Shown(denial) => Ok(pages::denied(&denial)),
        Authorized::SignIn { .. } => {
            let next = format!("{}?{}", paths::AUTHORIZE, satisfied(query));
            answer::redirect(&sso::with_parameters(paths::LOGIN, &[("next", Some(&next))]))
        }
    }
}

/// The request as it goes on after a sign-in, which is what these two asked for.
fn satisfied(query: &str) -> String {
    let is_other = |piece: &&str| {
        let key = Pairs::parse(piece.split('=').next().unwrap_or_default());
        !key.is_some_and(|key| key.has("prompt") || key.has("max_age"))
    };
    query.split('&').filter(is_other).collect::<Vec<_>>().join("&")
}

async fn token(web: &Web, asked: &Asked<'_>) -> Answered {
    asked.only(&[Method::POST])?;
    let (pairs, basic) = match client_form(asked) {
        Ok(read) => read,
        Err(denial) => return said(&denial, false),
    };
    let shown = basic.as_ref().map(Basic::parts);
    match web.service().redeem_code(&pairs, shown, Some(asked.peer)).await? {
        Err(denial) => said(&denial, basic.is_some()),
        Ok(granted) => {
            let body = json!({
                "access_token": granted.access_token.as_str(),
                "token_type": "Bearer",
                "expires_in": granted.expires_in,
                "id_token": granted.id_token.as_str(),
                "scope": granted.scope,
            });
            let mut answer = answer::json(StatusCode::OK, &body)?;
            // RFC 6749, section 5.1, asks for it beside `no-store`.
            answer.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
            Ok(answer)
        }
    }
}

async fn revoke(web: &Web, asked: &Asked<'_>) -> Answered {
    asked.only(&[Method::POST])?;
    let (pairs, basic) = match client_form(asked) {
        Ok(read) => read,
        Err(denial) => return said(&denial, false),
    };
    match web.service().give_back(&pairs, basic.as_ref().map(Basic::parts)).await? {
        Err(denial) => said(&denial, basic.is_some()),
        Ok(()) => answer::json(StatusCode::OK, &json!({})),
    }
}

async fn userinfo(web: &Web, asked: &Asked<'_>) -> Answered {
    asked.only(&[Method::GET, Method::POST])?;
    let Some(token) = asked.bearer()? else { return Err(Refused::unauthenticated()) };
    match web.service().userinfo(token).await? {
        Ok(claims) => answer::json(StatusCode::OK, &claims),
        Err(denial) => {
            let mut answer = said(&denial, false)?;
            // RFC 6750, section 3.
            let challenge = format!("Bearer error=\"{}\"", denial.kind.as_str());
            if let Ok(challenge) = HeaderValue::from_str(&challenge) {
                answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            }
            Ok(answer)
        }
    }
}

/// RFC 6749, section 5.2.
fn said(denial: &Denial, is_basic: bool) -> Result<Answer, Refused> {
    let status = StatusCode::from_u16(denial.kind.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let body = json!({ "error": denial.kind.as_str(), "error_description": denial.description });
    let mut answer = answer::json(status, &body)?;
    if is_basic && denial.kind == Kind::InvalidClient {
        let challenge = HeaderValue::from_static("Basic realm=\"mcias\"");
        answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    Ok(answer)
}

/// A client and its secret in `Authorization`.
struct Basic {
    id: String,
    secret: Zeroizing<String>,
}

impl Basic {
    fn parts(&self) -> (&str, &str) {
        (&self.id, &self.secret)
    }

    /// Each half is escaped as in a form (RFC 6749, section 2.3.1).
    fn read(value: &str) -> Option<Self> {
        let (scheme, text) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = Zeroizing::new(STANDARD.decode(text.trim()).ok()?);
        let (id, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
        Some(Self { id: sso::decoded(id)?, secret: Zeroizing::new(sso::decoded(secret)?) })
    }
}

fn client_form(asked: &Asked<'_>) -> Result<(Pairs, Option<Basic>), Denial> {
    let wrong = |description| Denial::new(Kind::InvalidRequest, description);
    asked.form().map_err(|_| wrong("the body is no form, or says something twice"))?;
    let body = std::str::from_utf8(asked.request.body()).ok().and_then(Pairs::parse);
    let pairs = body.ok_or(wrong("the body is no form, or says something twice"))?;
    let header = asked.header(AUTHORIZATION.as_str());
    let basic = match header.map_err(|_| wrong("Authorization is given twice"))? {
        None => None,
        Some(value) => {
            let unread = Denial::new(Kind::InvalidClient, "Authorization is not of the form Basic");
            Some(Basic::read(value).ok_or(unread)?)
        }
    };
    Ok((pairs, basic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sign_in_answers_is_not_asked_again() {
        assert_eq!(satisfied("a=b&prompt=login&max_age=0&c=d"), "a=b&c=d");
        assert_eq!(satisfied("a=b&%70rompt=login&promptx=1"), "a=b&promptx=1");
    }

    #[test]
    fn a_client_in_the_header_is_escaped_as_in_a_form() {
        let of = |text: &str| Basic::read(&format!("Basic {}", STANDARD.encode(text)));
        let basic = of("mcq:a%2Bb+c").unwrap();
        assert_eq!(basic.parts(), ("mcq", "a+b c"));
        assert!(of("mcq").is_none() && of("mcq:%zz").is_none() && Basic::read("Bearer x").is_none());
    }
}
