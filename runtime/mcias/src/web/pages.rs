//! Owns the pages that people see: signing in with both factors, signing out, and an account with its sessions. They work without
//! a script, by keyboard, by ear and on a narrow screen.

use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, RETRY_AFTER, SET_COOKIE};
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;
use zeroize::Zeroizing;

use super::answer::{self, Answer, Answered, Refused};
use super::asked::{Asked, Form};
use super::cookies::{SESSION, forget_cookie, set_cookie};
use super::html::{Html, moment, page};
use super::onward::{HOME, Onward};
use super::pending::{self, Half, Shown};
use super::{OWN_SERVICE, Web, external};
use crate::credentials::{self, Factor, Second};
use crate::driver::{Holder, Token, Via};
use crate::embedded::{Authorized, Outcome, SignIn};
use crate::external::Locale;
use crate::passkey::Assertion;
use crate::sso::{self, Denial, Kind, Pairs, paths};
use crate::witness::{Actor, acting};

const STYLE: &str = include_str!("style.css");
/// Longer fields are none.
const LONGEST: usize = 1024;
/// The same of a passkey's answer that is kept until the second factor comes: the longest keys and signatures take half of it.
const LONGEST_KEPT: usize = 8 << 10;
const SIGN_IN: &str = "Sign in";
/// One answer for everything that can be wrong.
const NOT_LET_IN: &str = "That did not work. Check the name and the password, and try again.";

/// Answers what people see.
pub(super) async fn answer(web: &Web, asked: &Asked<'_>, parts: &[&str]) -> Answered {
    let answered = match parts {
        [""] => answer::redirect(HOME),
        ["style.css"] => style(asked),
        ["login"] => login(web, asked).await,
        ["logout"] => logout(web, asked).await,
        ["account"] => account(web, asked).await,
        ["account", "revoke"] => revoke(web, asked).await,
        _ => Err(Refused::unknown()),
    };
    Ok(answered.unwrap_or_else(|refused| self::refused(&refused)))
}

/// A refusal as a person reads it.
pub(super) fn refused(refused: &Refused) -> Answer {
    notice(refused.status(), "This did not work", refused.message())
}

/// What is wrong with a request that must not be sent back anywhere.
pub(super) fn denied(denial: &Denial) -> Answer {
    let status = match denial.kind {
        Kind::InvalidClient => StatusCode::BAD_REQUEST,
        kind => StatusCode::from_u16(kind.status()).unwrap_or(StatusCode::BAD_REQUEST),
    };
    let words = format!("The page that sent you here asked for it in a wrong way: {}.", denial.description);
    notice(status, "This did not work", &words)
}

pub(super) fn notice(status: StatusCode, title: &'static str, words: &str) -> Answer {
    let body = Html::default()
        .raw("<div class=\"wrong\" role=\"alert\"><p>")
        .text(words)
        .raw("</p></div>\n<p><a href=\"/account\">Your account</a></p>\n");
    answer::page(status, page(title, &body))
}

fn style(asked: &Asked<'_>) -> Answered {
    asked.only(&[Method::GET])?;
    let mut answer = answer::of(StatusCode::OK, "text/css; charset=utf-8", STYLE);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    Ok(answer)
}

async fn login(web: &Web, asked: &Asked<'_>) -> Answered {
    asked.only(&[Method::GET, Method::POST])?;
    if asked.is_changing() {
        let form = asked.form()?;
        web.forms().check(asked, &form)?;
        return match form.get("step") {
            Some("second") => second_shown(web, asked, &form).await,
            _ => first_shown(web, asked, &form).await,
        };
    }
    let query = asked.query()?;
    let onward = Onward::of(&query);
    if query.get("next").is_none() && web.session(asked).await?.is_some() {
        return answer::redirect(HOME);
    }
    first_page(web, asked, StatusCode::OK, &First { onward: &onward, name: "", wrong: None }).await
}

/// What the page for the first factor shows.
pub(super) struct First<'a> {
    pub(super) onward: &'a Onward,
    pub(super) name: &'a str,
    pub(super) wrong: Option<&'a str>,
}

/// The page for the first factor.
pub(super) async fn first_page(
    web: &Web,
    asked: &Asked<'_>,
    status: StatusCode,
    first: &First<'_>,
) -> Answered {
    let proof = web.forms().proof(asked)?;
    let beyond = beyond(web, first.onward).await?;
    let mut body = wrong(first.wrong, "name");
    if let Some((service, _)) = &beyond {
        body = body.raw("<p class=\"quiet\">to go on to <strong>").text(service).raw("</strong></p>\n");
    }
    body = body
        .raw("<form method=\"post\" action=\"/login\">\n")
        .hidden("csrf", &proof.value)
        .hidden("next", &first.onward.next)
        .hidden("locale", first.onward.locale.as_ref().map_or("", Locale::as_str))
        .raw("\n<label for=\"name\">Name</label>\n<input id=\"name\" name=\"name\" value=\"")
        .text(first.name)
        .raw("\" autocomplete=\"username\" autocapitalize=\"none\" spellcheck=\"false\" maxlength=\"64\" required")
        .raw(if first.wrong.is_some() { " aria-describedby=\"wrong\"" } else { "" })
        .raw(">\n<label for=\"password\">Password</label>\n")
        .raw("<input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"current-password\" maxlength=\"1024\" required>\n")
        .raw("<button>Sign in</button>\n")
        .hidden("passkey", "")
        .raw("<button type=\"button\" class=\"other\" data-passkey=\"first\">Sign in with a passkey</button>\n")
        .raw("<p role=\"status\"></p>\n</form>\n<script src=\"/passkeys.js\" defer></script>\n")
        .piece(&external::buttons(web, first.onward));
    let page = answer::page(status, page(SIGN_IN, &body));
    Ok(with_cookie(allowing(page, beyond.and_then(|(_, origin)| origin)), proof.cookie))
}

/// The service that somebody goes on to, and the origin of the client.
async fn beyond(web: &Web, onward: &Onward) -> Result<Option<(String, Option<String>)>, Refused> {
    let Some(query) = onward.request() else { return Ok(None) };
    Ok(match web.service().authorize(query, None, None).await? {
        Authorized::SignIn { client, redirect_uri, .. } => {
            Some((client.service.to_string(), origin(&redirect_uri)))
        }
        _ => None,
    })
}

fn origin(address: &str) -> Option<String> {
    Url::parse(address).ok().map(|url| url.origin().ascii_serialization())
}

/// Browsers hold what a form leads to in the end against the page that has it.
fn allowing(mut answer: Answer, origin: Option<String>) -> Answer {
    let Some(origin) = origin else { return answer };
    let policy = answer::POLICY.replace("form-action 'self'", &format!("form-action 'self' {origin}"));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    answer
}

fn with_cookie(mut answer: Answer, cookie: Option<HeaderValue>) -> Answer {
    if let Some(cookie) = cookie {
        answer.headers_mut().append(SET_COOKIE, cookie);
    }
    answer
}

/// A summary of what is wrong that leads to the field.
fn wrong(words: Option<&str>, field: &'static str) -> Html {
    match words {
        None => Html::default(),
        Some(words) => Html::default()
            .raw("<div class=\"wrong\" role=\"alert\" id=\"wrong\" tabindex=\"-1\"><p><a href=\"#")
            .raw(field)
            .raw("\">")
            .text(words)
            .raw("</a></p></div>\n"),
    }
}

async fn first_shown(web: &Web, asked: &Asked<'_>, form: &Form) -> Answered {
    form.only(&["csrf", "next", "locale", "name", "password", "passkey"])?;
    let onward = Onward::of(form);
    if let Some(answer) = given(form, "passkey") {
        // It says itself whose it is. While a second factor is waited for it is kept.
        if answer.len() > LONGEST_KEPT {
            return Err(Refused::malformed("the answer of the passkey is too long"));
        }
        let half = Half {
            name: String::new(),
            shown: Shown::Passkey(Box::new(read(answer)?)),
            factors: Vec::new(),
            onward,
        };
        return signed_in(web, asked, half, None).await;
    }
    let name = form.get("name").unwrap_or_default();
    let password = form.get("password").unwrap_or_default();
    if name.len() > LONGEST || password.len() > LONGEST {
        return Err(Refused::malformed("a field is too long"));
    }
    let shown = Shown::Password(Zeroizing::new(password.to_owned()));
    let half = Half { name: name.trim().to_owned(), shown, factors: Vec::new(), onward };
    signed_in(web, asked, half, None).await
}

/// A field that is not empty.
fn given<'a>(form: &'a Form, name: &str) -> Option<&'a str> {
    form.get(name).filter(|text| !text.trim().is_empty())
}

/// What a script of ours put into a form.
fn read<T: DeserializeOwned>(text: &str) -> Result<T, Refused> {
    serde_json::from_str(text).map_err(|_| Refused::malformed("the answer of the passkey cannot be read"))
}

/// In, with the session's cookie.
async fn entered(web: &Web, asked: &Asked<'_>, token: &str, next: &str) -> Answered {
    if let Some(before) = web.session(asked).await? {
        // Whoever had this browser before is not to find a way back in.
        web.service().end_session(&before.account, &before.token).await?;
    }
    web.pending.forget(asked.cookie(pending::COOKIE));
    let mut answer = answer::redirect(next)?;
    answer.headers_mut().append(SET_COOKIE, set_cookie(SESSION, token, None)?);
    if asked.cookie(pending::COOKIE).is_some() {
        answer.headers_mut().append(SET_COOKIE, forget_cookie(pending::COOKIE)?);
    }
    Ok(answer)
}

async fn second_shown(web: &Web, asked: &Asked<'_>, form: &Form) -> Answered {
    form.only(&["csrf", "step", "code", "recovery", "passkey"])?;
    let handle = asked.cookie(pending::COOKIE);
    let Some(half) = web.pending.find(handle, web.service().now()) else {
        let words = "That took too long, or the service began anew. Sign in again.";
        let first = First { onward: &Onward::home(), name: "", wrong: Some(words) };
        return first_page(web, asked, StatusCode::FORBIDDEN, &first).await;
    };
    if let Some(answer) = given(form, "passkey") {
        let answer: Assertion = read(answer)?;
        let second = Second::Passkey(credentials::Shown { relying: web.relying()?, answer: &answer });
        return signed_in(web, asked, half, Some(second)).await;
    }
    let second = match (given(form, "code"), given(form, "recovery")) {
        (Some(code), None) => Second::Totp(code),
        (None, Some(code)) => Second::Recovery(code),
        _ => return second_page(web, asked, &half, Some("Give one of the codes.")).await,
    };
    signed_in(web, asked, half, Some(second)).await
}

/// Goes on with whoever showed a factor: in, to the second one, or back with what is wrong.
pub(super) async fn signed_in(
    web: &Web,
    asked: &Asked<'_>,
    half: Half,
    second: Option<Second<'_>>,
) -> Answered {
    let wish = SignIn {
        name: &half.name,
        first: half.shown.first(web)?,
        second,
        service: OWN_SERVICE,
        address: Some(asked.peer),
    };
    let outcome = web.service().sign_in(&wish).await?;
    let first = |wrong| First { onward: &half.onward, name: &half.name, wrong: Some(wrong) };
    match outcome {
        Outcome::Token(issued) => entered(web, asked, &issued.text, &half.onward.next).await,
        Outcome::Challenge(factors) => {
            let half = Half { factors, ..half };
            let handle = web.pending.keep(half.clone(), web.service().now())?;
            let cookie = set_cookie(pending::COOKIE, &handle, None)?;
            Ok(with_cookie(second_page(web, asked, &half, None).await?, Some(cookie)))
        }
        Outcome::Wait(wait) => {
            let seconds = answer::seconds(wait);
            let words = format!("That was tried too often. Wait {seconds} s, and try again.");
            let mut answer = first_page(web, asked, StatusCode::TOO_MANY_REQUESTS, &first(&words)).await?;
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            Ok(answer)
        }
        Outcome::Refused if second.is_some() => {
            let words = "That did not work. Codes are good once: try the next one.";
            second_page(web, asked, &half, Some(words)).await
        }
        Outcome::Refused => {
            let words = match half.shown {
                Shown::Password(_) | Shown::Passkey(_) => NOT_LET_IN,
                Shown::External(_) => "That did not work: this account is not let in this way.",
            };
            first_page(web, asked, StatusCode::FORBIDDEN, &first(words)).await
        }
    }
}

async fn second_page(web: &Web, asked: &Asked<'_>, half: &Half, said: Option<&str>) -> Answered {
    let proof = web.forms().proof(asked)?;
    let begin = |html: Html| {
        html.raw("<form method=\"post\" action=\"/login\">\n")
            .hidden("csrf", &proof.value)
            .hidden("step", "second")
    };
    let has = |factor: Factor| half.factors.contains(&factor);
    let mut body = wrong(said, if has(Factor::Totp) { "code" } else { "recovery" });
    if has(Factor::Totp) {
        body = begin(body)
            .raw("\n<label for=\"code\">One-time code</label>\n<input id=\"code\" name=\"code\" inputmode=\"numeric\"")
            .raw(" autocomplete=\"one-time-code\" maxlength=\"10\" required")
            .raw(if said.is_some() { " aria-describedby=\"wrong\"" } else { "" })
            .raw(">\n<button>Go on</button>\n</form>\n");
    }
    if has(Factor::Recovery) {
        let code = begin(Html::default().raw("<details>\n<summary>Use a recovery code</summary>\n"))
            .raw("\n<label for=\"recovery\">Recovery code</label>\n<input id=\"recovery\" name=\"recovery\"")
            .raw(" autocomplete=\"off\" autocapitalize=\"none\" spellcheck=\"false\" maxlength=\"64\" required>\n")
            .raw("<button>Go on</button>\n</form>\n</details>\n");
        body = body.piece(&code);
    }
    if has(Factor::Passkey) {
        let passkey = begin(Html::default())
            .hidden("passkey", "")
            .raw("<button type=\"button\" class=\"other\" data-passkey=\"second\">Use a passkey</button>\n")
            .raw("<p role=\"status\"></p>\n</form>\n<script src=\"/passkeys.js\" defer></script>\n");
        body = body.piece(&passkey);
    }
    let status = if said.is_some() { StatusCode::FORBIDDEN } else { StatusCode::OK };
    let page = answer::page(status, page("Second factor", &body));
    let origin = beyond(web, &half.onward).await?.and_then(|(_, origin)| origin);
    Ok(with_cookie(allowing(page, origin), proof.cookie))
}

async fn logout(web: &Web, asked: &Asked<'_>) -> Answered {
    asked.only(&[Method::GET, Method::POST])?;
    let session = web.session(asked).await?;
    let text = if asked.is_changing() {
        let form = asked.form()?;
        web.forms().check(asked, &form)?;
        form.get("request").unwrap_or_default().to_owned()
    } else {
        asked.request.uri().query().unwrap_or_default().to_owned()
    };
    let pairs = Pairs::parse(&text).ok_or_else(|| Refused::malformed("the request cannot be read"))?;
    let leaving = match web.service().leave(&pairs, session.as_deref()).await? {
        Ok(leaving) => leaving,
        Err(denial) => return Ok(denied(&denial)),
    };
    if !asked.is_changing() && !leaving.is_certain {
        let proof = web.forms().proof(asked)?;
        let body = Html::default()
            .raw("<p>Services that you signed in to from here learn nothing more of you.</p>\n")
            .raw("<form method=\"post\" action=\"/logout\">\n")
            .hidden("csrf", &proof.value)
            .hidden("request", &text)
            .raw("<button>Sign out</button>\n</form>\n<p><a href=\"/account\">Stay signed in</a></p>\n");
        let page = answer::page(StatusCode::OK, page("Sign out?", &body));
        return Ok(with_cookie(allowing(page, leaving.back.as_deref().and_then(origin)), proof.cookie));
    }
    if let Some(session) = &session {
        ending(web, asked, session, &session.token).await?;
    }
    let mut answer = match &leaving.back {
        Some(back) => answer::redirect(back)?,
        None => {
            let body = Html::default().raw("<p><a href=\"/login\">Sign in again</a></p>\n");
            answer::page(StatusCode::OK, page("You are signed out", &body))
        }
    };
    answer.headers_mut().append(SET_COOKIE, forget_cookie(SESSION)?);
    Ok(answer)
}

/// Whoever is signed in, or the way to the page where they sign in, and from there to `next`.
pub(super) async fn somebody(
    web: &Web,
    asked: &Asked<'_>,
    next: &str,
) -> Result<Result<std::sync::Arc<Holder>, Answer>, Refused> {
    Ok(match web.session(asked).await? {
        Some(session) => Ok(session),
        None => Err(again(next)?),
    })
}

/// The way to the page where they sign in once more, and from there to `next`.
pub(super) fn again(next: &str) -> Answered {
    answer::redirect(&sso::with_parameters(paths::LOGIN, &[("next", Some(next))]))
}

async fn account(web: &Web, asked: &Asked<'_>) -> Answered {
    use crate::driver::Driver as _;
    asked.only(&[Method::GET])?;
    let session = match somebody(web, asked, HOME).await? {
        Ok(session) => session,
        Err(elsewhere) => return Ok(elsewhere),
    };
    let proof = web.forms().proof(asked)?;
    let tokens = web.service().tokens(&session.account).await?;
    let linked = match web.service().account(&session.account).await? {
        Some(account) => web.service().linked(&account).await?,
        None => Vec::new(),
    };
    let mut body = Html::default()
        .raw("<p>You are signed in as <strong>")
        .text(session.account.as_str())
        .raw("</strong>.</p>\n<h2 id=\"sessions\">Sessions</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-labelledby=\"sessions\">\n<table>\n")
        .raw("<thead><tr><th scope=\"col\">Service</th><th scope=\"col\">How</th><th scope=\"col\">From</th>")
        .raw("<th scope=\"col\">Since</th><th scope=\"col\">Until</th><th scope=\"col\">Revoke</th></tr></thead>\n<tbody>\n");
    for token in tokens.iter().rev().filter(|token| !token.revoked) {
        body = body.piece(&row(token, &session, &proof.value));
    }
    body = body
        .raw("</tbody>\n</table>\n</div>\n<h2>Other ways to sign in</h2>\n")
        .raw("<p><a href=\"/passkeys\">Passkeys</a></p>\n")
        .piece(&external::links(web, &linked, &proof.value))
        .raw("<form method=\"post\" action=\"/logout\">\n")
        .hidden("csrf", &proof.value)
        .raw("<p></p><button>Sign out</button>\n</form>\n");
    let page = answer::page(StatusCode::OK, page("Your account", &body));
    Ok(with_cookie(page, proof.cookie))
}

fn row(token: &Token, session: &Holder, proof: &str) -> Html {
    let address = token.address.map(|address| address.to_string()).unwrap_or_default();
    let html = Html::default().raw("<tr><td>").text(token.service.as_str()).raw("</td><td>");
    let html = match (token.via, &token.client) {
        _ if token.id == session.token => html.raw("<strong>this browser</strong>"),
        (Via::Sso, Some(client)) => html.raw("through ").text(client.as_str()),
        (Via::Issue, _) => html.raw("made by a script"),
        _ => html.raw("signed in"),
    };
    let html = moment(html.raw("</td><td>").text(&address).raw("</td><td>"), token.issued_at);
    moment(html.raw("</td><td>"), token.expires_at)
        .raw("</td><td><form method=\"post\" action=\"/account/revoke\">")
        .hidden("csrf", proof)
        .hidden("id", &token.id)
        .raw("<button class=\"other\" aria-label=\"Revoke the session of ")
        .text(token.service.as_str())
        .raw(" from ")
        .text(&address)
        .raw("\">Revoke</button></form></td></tr>\n")
}

async fn revoke(web: &Web, asked: &Asked<'_>) -> Answered {
    asked.only(&[Method::POST])?;
    let form = asked.form()?;
    web.forms().check(asked, &form)?;
    form.only(&["csrf", "id"])?;
    let session = match somebody(web, asked, HOME).await? {
        Ok(session) => session,
        Err(elsewhere) => return Ok(elsewhere),
    };
    // Only among one's own: the id of somebody else's finds nothing.
    ending(web, asked, &session, form.need("id")?).await?;
    answer::redirect(HOME)
}

/// Ends a session of whoever is signed in, in their name.
async fn ending(web: &Web, asked: &Asked<'_>, own: &Holder, session: &str) -> Result<(), Refused> {
    let actor = Actor { principal: format!("account:{}", own.account), address: Some(asked.peer) };
    acting(actor, web.service().end_session(&own.account, session)).await?;
    Ok(())
}
