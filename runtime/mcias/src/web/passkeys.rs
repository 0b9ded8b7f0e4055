//! Owns passkeys in a browser: the page on which somebody makes, sees and removes theirs, what its script asks for, and
//! signing in with one. The script is a file of its own; there is none within a page.

use effect::Code;
use http::header::{HeaderValue, SET_COOKIE};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::answer::{self, Answer, Answered, Refused};
use super::asked::{Asked, Form};
use super::cookies::{SESSION, set_cookie};
use super::html::{Html, moment, page};
use super::{OWN_SERVICE, Web, pages};
use crate::credentials::{First, Second, Shown};
use crate::driver::Holder;
use crate::embedded::{Outcome, Passkey, SignIn};
use crate::passkey::{Assertion, Registration, Relying};
use crate::witness::{Actor, acting};

const SCRIPT: &str = include_str!("passkeys.js");
const PAGE: &str = "/passkeys";

/// What a page's script sends of a passkey that was made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Made {
    name: String,
    passkey: Registration,
}

/// For what a passkey is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Whether it comes after a password.
    second: bool,
}

/// A sign-in by a script of ours: with a password, and what is asked for after it; or with a passkey alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(default)]
    name: String,
    password: Option<String>,
    passkey: Option<Assertion>,
    /// A one-time code.
    code: Option<String>,
    /// A recovery code.
    recovery: Option<String>,
}

impl Wish {
    /// What comes first and what comes second, where it is told in one way.
    fn factors<'a>(&'a self, relying: &'a Relying) -> Option<(First<'a>, Option<Second<'a>>)> {
        let passkey = self.passkey.as_ref().map(|answer| Shown { relying, answer });
        let code = match (self.code.as_deref(), self.recovery.as_deref()) {
            (Some(_), Some(_)) => return None,
            (code, recovery) => code.map(Second::Totp).or(recovery.map(Second::Recovery)),
        };
        match (self.password.as_deref(), passkey, code) {
            (Some(_), Some(_), Some(_)) | (None, None, _) => None,
            (Some(password), passkey, code) => {
                Some((First::Password(password), passkey.map(Second::Passkey).or(code)))
            }
            (None, Some(passkey), code) => Some((First::Passkey(passkey), code)),
        }
    }
}

impl Web {
    /// The answer beneath `/passkeys`.
    pub(super) async fn passkeys(&self, asked: &Asked<'_>, rest: &[&str]) -> Answered {
        match rest {
            [] => {
                asked.only(&[Method::GET])?;
                self.passkeys_page(asked).await
            }
            ["new", "options"] => {
                asked.only(&[Method::POST])?;
                let holder = self.owner(asked).await?;
                self.forms().check_header(asked)?;
                let options = self.service().begin_passkey(&holder.account, self.relying()?).await?;
                answer::json(StatusCode::OK, &options)
            }
            ["new"] => {
                asked.only(&[Method::POST])?;
                self.make_passkey(asked).await
            }
            ["remove"] => {
                asked.only(&[Method::POST])?;
                self.remove_passkey(asked).await
            }
            ["options"] => {
                asked.only(&[Method::POST])?;
                let wanted: Wanted = asked.json()?;
                let options = self.service().ask_for_passkey(self.relying()?, !wanted.second)?;
                let proof = self.forms().proof(asked)?;
                // Whoever can read the answer is a page of ours: what it sends next is not another site's doing.
                let told = json!({ "options": options, "csrf": proof.value });
                Ok(with_cookie(answer::json(StatusCode::OK, &told)?, proof.cookie))
            }
            ["sign-in"] => {
                asked.only(&[Method::POST])?;
                self.sign_in_with_passkey(asked).await
            }
            _ => Err(Refused::unknown()),
        }
    }

    /// The script of pages with passkeys.
    pub(super) fn passkeys_script(asked: &Asked<'_>) -> Answered {
        asked.only(&[Method::GET])?;
        Ok(answer::of(StatusCode::OK, "text/javascript; charset=utf-8", SCRIPT))
    }

    /// Whoever signed in here a short while ago.
    async fn owner(&self, asked: &Asked<'_>) -> Result<std::sync::Arc<Holder>, Refused> {
        let signed_out = || Refused::new(StatusCode::UNAUTHORIZED, "unauthenticated", "sign in first");
        let holder = self.session(asked).await?.ok_or_else(signed_out)?;
        match self.is_fresh(&holder).await? {
            true => Ok(holder),
            false => Err(Refused::new(
                StatusCode::FORBIDDEN,
                "sign_in_again",
                "you signed in too long ago: load the page again",
            )),
        }
    }

    async fn passkeys_page(&self, asked: &Asked<'_>) -> Answered {
        let holder = match pages::somebody(self, asked, PAGE).await? {
            Ok(holder) => holder,
            Err(elsewhere) => return Ok(elsewhere),
        };
        if !self.is_fresh(&holder).await? {
            return pages::again(PAGE);
        }
        let passkeys = self.service().passkeys(&holder.account).await?;
        let proof = self.forms().proof(asked)?;
        let body = passkeys_of(holder.account.as_str(), &passkeys, &proof.value);
        Ok(with_cookie(answer::page(StatusCode::OK, page("Passkeys", &body)), proof.cookie))
    }

    async fn make_passkey(&self, asked: &Asked<'_>) -> Answered {
        let holder = self.owner(asked).await?;
        self.forms().check_header(asked)?;
        let made: Made = asked.json()?;
        let (service, relying) = (self.service(), self.relying()?);
        let making = service.finish_passkey(&holder.account, relying, &made.name, &made.passkey);
        let enrolled = acting(of(&holder, asked), making).await?;
        let recovery: Vec<&str> = enrolled.recovery.iter().map(|code| code.as_str()).collect();
        let told = json!({ "passkey": enrolled.passkey, "recovery": recovery });
        answer::json(StatusCode::CREATED, &told)
    }

    async fn remove_passkey(&self, asked: &Asked<'_>) -> Answered {
        let holder = self.owner(asked).await?;
        let form: Form = asked.form()?;
        form.only(&["csrf", "id"])?;
        self.forms().check(asked, &form)?;
        let removing = self.service().remove_passkey(&holder.account, form.need("id")?);
        acting(of(&holder, asked), removing).await?;
        answer::redirect(PAGE)
    }

    async fn sign_in_with_passkey(&self, asked: &Asked<'_>) -> Answered {
        self.forms().check_header(asked)?;
        let wish: Wish = asked.json()?;
        let relying = self.relying()?;
        let missing = || Refused::malformed("a password or a passkey, and one second factor at most");
        let (first, second) = wish.factors(relying).ok_or_else(missing)?;
        let name = wish.name.as_str();
        let sign_in = SignIn { name, first, second, service: OWN_SERVICE, address: Some(asked.peer) };
        match self.service().sign_in(&sign_in).await? {
            Outcome::Token(issued) => {
                if let Some(before) = self.session(asked).await? {
                    // Whoever had this browser before is not to find a way back in.
                    self.service().end_session(&before.account, &before.token).await?;
                }
                let cookie = set_cookie(SESSION, &issued.text, None)?;
                Ok(with_cookie(answer::nothing(), Some(cookie)))
            }
            Outcome::Challenge(factors) => answer::json(StatusCode::OK, &json!({ "factors": factors })),
            Outcome::Wait(wait) => Err(Refused::too_often(wait)),
            Outcome::Refused => Err(Refused::new(
                StatusCode::UNAUTHORIZED,
                Code::LoginRefused.as_str(),
                "the sign-in is refused",
            )),
        }
    }
}

/// In whose name it is done.
fn of(holder: &Holder, asked: &Asked<'_>) -> Actor {
    Actor { principal: format!("account:{}", holder.account), address: Some(asked.peer) }
}

fn with_cookie(mut answer: Answer, cookie: Option<HeaderValue>) -> Answer {
    if let Some(cookie) = cookie {
        answer.headers_mut().append(SET_COOKIE, cookie);
    }
    answer
}

fn passkeys_of(account: &str, passkeys: &[Passkey], proof: &str) -> Html {
    let mut body =
        Html::default().raw("<p>With these <strong>").text(account).raw("</strong> can sign in.</p>\n");
    if !passkeys.is_empty() {
        body = body
            .raw("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Passkeys\">\n<table>\n<thead><tr>")
            .raw("<th scope=\"col\">Name</th><th scope=\"col\">Made</th><th scope=\"col\">Last used</th>")
            .raw("<th scope=\"col\">Remove</th></tr></thead>\n<tbody>\n");
        for passkey in passkeys {
            body = body.piece(&row(passkey, proof));
        }
        body = body.raw("</tbody>\n</table>\n</div>\n");
    }
    body.raw("<form data-passkey=\"new\">\n")
        .hidden("csrf", proof)
        .raw("\n<label for=\"name\">Name of a new one</label>\n")
        .raw("<input id=\"name\" name=\"name\" maxlength=\"64\" autocomplete=\"off\" required>\n")
        .raw("<button>Add a passkey</button>\n<p role=\"status\"></p>\n<ul></ul>\n</form>\n")
        .raw("<noscript><p>Making one takes JavaScript.</p></noscript>\n")
        .raw("<p><a href=\"/account\">Your account</a></p>\n<script src=\"/passkeys.js\" defer></script>\n")
}

fn row(passkey: &Passkey, proof: &str) -> Html {
    let html = Html::default().raw("<tr><td>").text(&passkey.name).raw("</td><td>");
    let html = moment(html, passkey.made).raw("</td><td>");
    let html = match passkey.used {
        Some(used) => moment(html, used),
        None => html.raw("never"),
    };
    html.raw("</td><td><form method=\"post\" action=\"/passkeys/remove\">")
        .hidden("csrf", proof)
        .hidden("id", &passkey.id)
        .raw("<button class=\"other\" aria-label=\"Remove ")
        .text(&passkey.name)
        .raw("\">Remove</button></form></td></tr>\n")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn what_an_owner_calls_a_passkey_stays_text() {
        let passkey = Passkey {
            id: "abc".into(),
            name: "</td><script>alert('1')</script>\"&".into(),
            made: 1_767_355_200_000,
            used: None,
            can_be_copied: false,
        };
        let html = Bytes::from(passkeys_of("alice", &[passkey], "proof"));
        let html = std::str::from_utf8(&html).expect("it is text");
        assert!(
            html.contains("&lt;/td&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;&amp;"),
            "{html}"
        );
        assert!(html.contains("2026-01-02 12:00 UTC</time></td><td>never</td>"), "{html}");
        assert_eq!(html.matches("<script").count(), 1, "{html}");
    }
}
