//! Owns the way to other issuers and back: `/external/NAME`, where it begins, `…/callback`, where it ends, and `…/link` and
//! `…/unlink` for whoever is signed in.

use http::header::{HeaderValue, SET_COOKIE};
use http::{Method, StatusCode};

use super::answer::{self, Answered, Refused};
use super::asked::Asked;
use super::cookies::{forget_cookie, set_cookie};
use super::html::{Html, page};
use super::onward::{HOME, Onward};
use super::pending::{Half, Shown};
use super::{Web, pages};
use crate::account::Account;
use crate::driver::Driver as _;
use crate::external::{COOKIE, Entry, External, Facts, Wrong, new_state};
use crate::name::Name;
use crate::random;
use crate::sso::{Pairs, paths};
use crate::witness::{Actor, acting};

/// Answers what lies beneath `/external`.
pub(super) async fn answer(web: &Web, asked: &Asked<'_>, parts: &[&str]) -> Answered {
    let answered = match (&web.external, parts) {
        (Some(external), [name, rest @ ..]) => match name.parse::<Name>() {
            Ok(name) if external.settings(&name).is_some() => {
                of_provider(web, external, asked, &name, rest).await
            }
            _ => Err(Refused::unknown()),
        },
        _ => Err(Refused::unknown()),
    };
    Ok(answered.unwrap_or_else(|refused| pages::refused(&refused)))
}

async fn of_provider(
    web: &Web,
    external: &External,
    asked: &Asked<'_>,
    name: &Name,
    rest: &[&str],
) -> Answered {
    match rest {
        [] => {
            asked.only(&[Method::GET])?;
            let onward = Onward::of(&asked.query()?);
            let address = begin(web, external, asked, name, (onward, None)).await?;
            let mut answer = answer::redirect(&address.0)?;
            answer.headers_mut().append(SET_COOKIE, address.1);
            Ok(answer)
        }
        ["callback"] => {
            asked.only(&[Method::GET])?;
            let mut answer = match callback(web, external, asked, name).await? {
                Ok(answer) => answer,
                Err((wrong, onward)) => failed(wrong, &onward),
            };
            if asked.cookie(COOKIE).is_some() {
                answer.headers_mut().append(SET_COOKIE, forget_cookie(COOKIE)?);
            }
            Ok(answer)
        }
        ["link"] => link(web, external, asked, name).await,
        ["unlink"] => {
            asked.only(&[Method::POST])?;
            web.forms().check(asked, &asked.form()?)?;
            let Some(session) = web.session(asked).await? else { return Err(Refused::forbidden()) };
            if !web.is_fresh(&session).await? {
                return pages::again(HOME);
            }
            let actor =
                Actor { principal: format!("account:{}", session.account), address: Some(asked.peer) };
            acting(actor, web.service().unlink(&session.account, name)).await?;
            answer::redirect(HOME)
        }
        _ => Err(Refused::unknown()),
    }
}

fn callback_of(web: &Web, name: &Name) -> String {
    format!("{}/external/{name}/callback", web.url())
}

/// Where the browser is sent to, and the cookie by which it is known when it comes back.
async fn begin(
    web: &Web,
    external: &External,
    asked: &Asked<'_>,
    name: &Name,
    (onward, link): (Onward, Option<Name>),
) -> Result<(String, HeaderValue), Refused> {
    let (state, browser) = (new_state()?, random::token::<32>()?);
    let now = web.service().now();
    let spoken = onward.spoken(asked);
    let begun = external.begin(name, &state, &callback_of(web, name), spoken.as_ref(), now).await?;
    let begun = begun.ok_or_else(Refused::unknown)?;
    let entry = Entry {
        provider: name.clone(),
        next: onward.next,
        link,
        nonce: begun.nonce,
        verifier: begun.verifier,
        locale: onward.locale,
    };
    if !web.states.keep((&state, &browser), entry, asked.peer, now) {
        return Err(Refused::too_often(std::time::Duration::from_secs(60)));
    }
    Ok((begun.address, set_cookie(COOKIE, &browser, None)?))
}

/// A form may lead to pages of this site alone, so whoever links something goes on from a page.
async fn link(web: &Web, external: &External, asked: &Asked<'_>, name: &Name) -> Answered {
    asked.only(&[Method::POST])?;
    web.forms().check(asked, &asked.form()?)?;
    let Some(session) = web.session(asked).await? else { return Err(Refused::forbidden()) };
    if !web.is_fresh(&session).await? {
        return pages::again(HOME);
    }
    let wish = (Onward::home(), Some(session.account.clone()));
    let (address, cookie) = begin(web, external, asked, name, wish).await?;
    let body = Html::default()
        .raw("<p>You say there that it is you, and come back.</p>\n<p><a class=\"button\" href=\"")
        .text(&address)
        .raw("\">Go on</a></p>\n");
    let mut answer = answer::page(StatusCode::OK, page("Link an account", &body));
    answer.headers_mut().append(SET_COOKIE, cookie);
    Ok(answer)
}

/// What went wrong, and the way to begin again.
fn failed(wrong: Wrong, onward: &Onward) -> answer::Answer {
    let body = Html::default()
        .raw("<div class=\"wrong\" role=\"alert\"><p>")
        .text(wrong.words())
        .raw("</p></div>\n<p><a href=\"")
        .text(&onward.through(paths::LOGIN))
        .raw("\">Sign in</a></p>\n");
    answer::page(StatusCode::FORBIDDEN, page("This did not work", &body))
}

async fn callback(
    web: &Web,
    external: &External,
    asked: &Asked<'_>,
    name: &Name,
) -> Result<Result<answer::Answer, (Wrong, Onward)>, Refused> {
    let nowhere = Err((Wrong::State, Onward::home()));
    let Some(pairs) = Pairs::parse(asked.request.uri().query().unwrap_or_default()) else {
        return Ok(nowhere);
    };
    let now = web.service().now();
    let entry = pairs.get("state").and_then(|state| web.states.take(state, asked.cookie(COOKIE), name, now));
    let Some(entry) = entry else { return Ok(nowhere) };
    let onward = Onward { next: entry.next.clone(), locale: entry.locale.clone() };
    let came = came_back(web, external, asked, &entry, &pairs).await?;
    Ok(came.map_err(|wrong| (wrong, onward)))
}

/// What comes of one that began here.
async fn came_back(
    web: &Web,
    external: &External,
    asked: &Asked<'_>,
    entry: &Entry,
    pairs: &Pairs,
) -> Result<Result<answer::Answer, Wrong>, Refused> {
    if pairs.get("error").is_some() {
        return Ok(Err(Wrong::Denied));
    }
    let Some(code) = pairs.get("code") else { return Ok(Err(Wrong::NoCode)) };
    let (name, now) = (&entry.provider, web.service().now());
    let facts = match external.facts(entry, code, pairs.get("iss"), &callback_of(web, name), now).await {
        Ok(facts) => facts,
        Err(wrong) => return Ok(Err(wrong)),
    };
    if let Some(account) = &entry.link {
        let session = web.session(asked).await?;
        // Whoever began it must still be the one who is signed in.
        if session.as_ref().is_none_or(|session| session.account != *account) {
            return Ok(Err(Wrong::State));
        }
        let Some(account) = web.service().account(account).await? else { return Ok(Err(Wrong::Nobody)) };
        let actor = Actor { principal: format!("account:{}", account.name), address: Some(asked.peer) };
        return Ok(match acting(actor, web.service().link(&facts, &account)).await? {
            Ok(()) => Ok(answer::redirect(&entry.next)?),
            Err(wrong) => Err(wrong),
        });
    }
    let account = match somebody(web, external, asked, &facts).await? {
        Ok(account) => account,
        Err(wrong) => return Ok(Err(wrong)),
    };
    let half = Half {
        name: account.name.to_string(),
        shown: Shown::External(account.id),
        factors: Vec::new(),
        onward: Onward { next: entry.next.clone(), locale: entry.locale.clone() },
    };
    pages::signed_in(web, asked, half, None).await.map(Ok)
}

/// The account of whoever comes back, made where the settings say so.
async fn somebody(
    web: &Web,
    external: &External,
    asked: &Asked<'_>,
    facts: &Facts,
) -> Result<Result<Account, Wrong>, Refused> {
    let Some(settings) = external.settings(&facts.provider) else { return Ok(Err(Wrong::Nobody)) };
    let known = web.service().known_by(facts, settings.match_email).await?;
    if !settings.create || known.as_ref().err() != Some(&Wrong::Nobody) {
        return Ok(known);
    }
    let actor = Actor { principal: format!("external:{}", facts.provider), address: Some(asked.peer) };
    Ok(acting(actor, web.service().join(facts, &settings.roles(), &settings.groups)).await?)
}

/// The buttons of the providers that are configured.
pub(super) fn buttons(web: &Web, onward: &Onward) -> Html {
    let mut html = Html::default();
    for (name, title) in web.external.iter().flat_map(External::titles) {
        let address = onward.through(&format!("/external/{name}"));
        html = html
            .raw("<a class=\"button other\" href=\"")
            .text(&address)
            .raw("\">Sign in with ")
            .text(title)
            .raw("</a>\n");
    }
    html
}

/// What an account page shows of them.
pub(super) fn links(web: &Web, linked: &[Name], proof: &str) -> Html {
    let mut html = Html::default();
    for (name, title) in web.external.iter().flat_map(External::titles) {
        let (act, words) = if linked.contains(name) { ("unlink", "Unlink ") } else { ("link", "Link ") };
        html = html
            .raw("<form method=\"post\" action=\"/external/")
            .text(name.as_str())
            .raw("/")
            .text(act)
            .raw("\">")
            .hidden("csrf", proof)
            .raw("<button class=\"other\">")
            .raw(words)
            .text(title)
            .raw("</button></form>\n");
    }
    html
}
