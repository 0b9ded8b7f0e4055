//! Owns which request goes where, and what all of them have in common: method, content type, nonce, signature, account.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::Inner;
use super::answer::Answer;
use super::jwk::Jwk;
use super::jws::{Identity, Jws, LONGEST};
use super::problem::{Kind, Outcome, Problem};
use super::prover;
use super::revoke::Asker;

pub(super) const DIRECTORY: &str = "directory";
const NEW_NONCE: &str = "new-nonce";
const NEW_ACCOUNT: &str = "new-account";
const NEW_ORDER: &str = "new-order";
const REVOKE: &str = "revoke-cert";
const KEY_CHANGE: &str = "key-change";
const RENEWAL_INFO: &str = "renewal-info";

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route<'a> {
    Directory,
    NewNonce,
    RenewalInfo(&'a str),
    /// Everything else takes a signature.
    Signed(Signed<'a>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signed<'a> {
    NewAccount,
    NewOrder,
    Revoke,
    KeyChange,
    Account(&'a str),
    Orders(&'a str, usize),
    Order(&'a str),
    Finalize(&'a str),
    Certificate(&'a str),
    Authorization(&'a str, usize),
    Challenge(&'a str, usize, prover::Kind),
}

fn route<'a>(path: &'a str, query: Option<&str>) -> Option<Route<'a>> {
    let mut parts = path.split('/');
    let first = parts.next()?;
    let rest: Vec<&str> = parts.collect();
    let index = |text: &str| text.parse::<u16>().ok().map(usize::from);
    let kind = |text: &str| prover::Kind::ALL.into_iter().find(|kind| kind.as_str() == text);
    let signed = match (first, rest.as_slice(), query) {
        (DIRECTORY, [], None) => return Some(Route::Directory),
        (NEW_NONCE, [], None) => return Some(Route::NewNonce),
        (RENEWAL_INFO, [id], None) => return Some(Route::RenewalInfo(id)),
        (NEW_ACCOUNT, [], None) => Signed::NewAccount,
        (NEW_ORDER, [], None) => Signed::NewOrder,
        (REVOKE, [], None) => Signed::Revoke,
        (KEY_CHANGE, [], None) => Signed::KeyChange,
        ("account", [id], None) => Signed::Account(id),
        ("account", [id, "orders"], None) => Signed::Orders(id, 0),
        ("account", [id, "orders"], Some(query)) => {
            Signed::Orders(id, query.strip_prefix("cursor=")?.parse().ok()?)
        }
        ("order", [id], None) => Signed::Order(id),
        ("order", [id, "finalize"], None) => Signed::Finalize(id),
        ("order", [id, "certificate"], None) => Signed::Certificate(id),
        ("authz", [id, number], None) => Signed::Authorization(id, index(number)?),
        ("challenge", [id, number, word], None) => Signed::Challenge(id, index(number)?, kind(word)?),
        _ => return None,
    };
    Some(Route::Signed(signed))
}

impl Inner {
    /// Answers a request, whatever it is.
    pub(super) async fn respond(
        self: &Arc<Self>,
        request: &Request<Bytes>,
        peer: SocketAddr,
    ) -> Response<Bytes> {
        let answered = self.dispatch(request, peer).await;
        let mut answer = answered.unwrap_or_else(|problem| Answer::problem(&problem));
        let is_new_nonce = self.base.beneath(request.uri().path()) == Some(NEW_NONCE);
        if request.method() == Method::POST || is_new_nonce {
            match self.nonces.issue() {
                Ok(nonce) => answer = answer.nonce(nonce),
                Err(problem) => answer = Answer::problem(&problem),
            }
        }
        answer.link(self.base.at(DIRECTORY), "index").into_response()
    }

    async fn dispatch(self: &Arc<Self>, request: &Request<Bytes>, peer: SocketAddr) -> Outcome<Answer> {
        let path = self.base.beneath(request.uri().path());
        let found = path.and_then(|path| route(path, request.uri().query()));
        let found = found.ok_or_else(|| Problem::not_found("resource"))?;
        match (found, request.method()) {
            (Route::Directory, &Method::GET | &Method::HEAD) => {
                Ok(Answer::json(StatusCode::OK, self.show_directory()))
            }
            (Route::NewNonce, &Method::HEAD) => Ok(Answer::empty(StatusCode::OK)),
            (Route::NewNonce, &Method::GET) => Ok(Answer::empty(StatusCode::NO_CONTENT)),
            (Route::RenewalInfo(id), &Method::GET) => self.renewal_info(id).await,
            (Route::Signed(signed), &Method::POST) => {
                let jws = self.read(request)?;
                self.perform(signed, &jws, peer).await
            }
            (found, _) => {
                let methods = if matches!(found, Route::Signed(_)) { "POST" } else { "GET, HEAD" };
                let problem = Problem::malformed(format!("this takes {methods}"));
                Ok(Answer::problem(&problem.with_status(StatusCode::METHOD_NOT_ALLOWED)).allow(methods))
            }
        }
    }

    /// A request that is signed for this very address, now: the signature itself is not checked yet.
    fn read(&self, request: &Request<Bytes>) -> Outcome<Jws> {
        if request.body().len() > LONGEST {
            let problem = Problem::malformed(format!("a request is at most {LONGEST} bytes long"));
            return Err(problem.with_status(StatusCode::PAYLOAD_TOO_LARGE));
        }
        let mut contents = request.headers().get_all(CONTENT_TYPE).iter();
        let content = contents.next().map(http::HeaderValue::as_bytes);
        if content != Some(b"application/jose+json") || contents.next().is_some() {
            let problem = Problem::malformed("the content type of requests is application/jose+json");
            return Err(problem.with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let jws = Jws::from_bytes(request.body())?;
        let nonce = jws.nonce.as_deref().unwrap_or_default();
        if !self.nonces.take(nonce) {
            return Err(Problem::new(
                Kind::BadNonce,
                "the nonce was used already, or is too old; take the new one",
            ));
        }
        let path = self.base.beneath(request.uri().path()).unwrap_or_default();
        let asked = match request.uri().query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        if self.base.beneath_url(&jws.url) != Some(asked.as_str()) {
            return Err(Problem::unauthorized(
                "the request was signed for another address: `url` is not this one",
            ));
        }
        Ok(jws)
    }

    async fn perform(self: &Arc<Self>, signed: Signed<'_>, jws: &Jws, peer: SocketAddr) -> Outcome<Answer> {
        match (signed, &jws.identity) {
            (Signed::NewAccount, Identity::Jwk(key)) => {
                jws.verify(key)?;
                self.register(jws, key, peer).await
            }
            (Signed::Revoke, Identity::Jwk(key)) => {
                jws.verify(key)?;
                self.revoke(Asker::Key(key), jws).await
            }
            (Signed::NewAccount, Identity::Kid(_)) => {
                Err(Problem::malformed("who registers signs with `jwk`"))
            }
            (_, Identity::Jwk(_)) => Err(Problem::malformed("accounts sign with `kid`")),
            (_, Identity::Kid(kid)) => {
                let account = self.signer_of(kid, jws).await?;
                self.perform_for(&account, signed, jws).await
            }
        }
    }

    /// The id of the account that signed.
    async fn signer_of(&self, kid: &str, jws: &Jws) -> Outcome<String> {
        let id = self.base.beneath_url(kid).and_then(|path| path.strip_prefix("account/"));
        let id = id.ok_or_else(|| {
            Problem::new(Kind::AccountDoesNotExist, "`kid` is not the address of an account")
        })?;
        let account = self.account(id).await?;
        jws.verify(&Jwk::from_json(&account.key)?)?;
        Ok(id.to_owned())
    }

    async fn perform_for(self: &Arc<Self>, account: &str, signed: Signed<'_>, jws: &Jws) -> Outcome<Answer> {
        if let Signed::Account(id) | Signed::Orders(id, _) = signed
            && id != account
        {
            return Err(Problem::unauthorized("the account is another one"));
        }
        match signed {
            Signed::NewAccount => Err(Problem::malformed("who registers signs with `jwk`")),
            Signed::NewOrder => self.new_order(account, jws).await,
            Signed::Revoke => self.revoke(Asker::Account(account), jws).await,
            Signed::KeyChange => self.change_key(account, jws).await,
            Signed::Account(id) => self.change_account(id, jws).await,
            Signed::Finalize(id) => self.finalize(account, id, jws).await,
            Signed::Authorization(id, index) => self.change_authorization(account, id, index, jws).await,
            Signed::Challenge(id, index, kind) => self.answer_challenge(account, id, index, kind, jws).await,
            Signed::Orders(id, cursor) => {
                jws.only_reads()?;
                self.list_orders(id, cursor).await
            }
            Signed::Order(id) => {
                jws.only_reads()?;
                self.read_order(account, id).await
            }
            Signed::Certificate(id) => {
                jws.only_reads()?;
                self.certificate(account, id).await
            }
        }
    }

    fn show_directory(&self) -> Value {
        let settings = &self.settings;
        let mut meta = json!({ "externalAccountRequired": settings.eab });
        if let Some(terms) = &settings.terms_of_service {
            meta["termsOfService"] = json!(terms);
        }
        if let Some(website) = &settings.website {
            meta["website"] = json!(website);
        }
        if !settings.caa_identities.is_empty() {
            meta["caaIdentities"] = json!(settings.caa_identities);
        }
        json!({
            "newNonce": self.base.at(NEW_NONCE),
            "newAccount": self.base.at(NEW_ACCOUNT),
            "newOrder": self.base.at(NEW_ORDER),
            "revokeCert": self.base.at(REVOKE),
            "keyChange": self.base.at(KEY_CHANGE),
            "renewalInfo": self.base.at(RENEWAL_INFO),
            "meta": meta,
        })
    }
}
