//! A browser without a screen: it keeps cookies, and sends forms with the proofs that pages have.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE};
use http::{Request, Response};
use mcias::Web;

use super::authenticator;

pub(super) struct Browser {
    pub(super) cookies: BTreeMap<String, String>,
    address: IpAddr,
    /// What else it sends with everything.
    pub(super) headers: Vec<(&'static str, String)>,
}

impl Browser {
    /// One at `192.0.2.NUMBER`.
    pub(super) fn at(number: u8) -> Self {
        Self { cookies: BTreeMap::new(), address: [192, 0, 2, number].into(), headers: Vec::new() }
    }

    pub(super) async fn get(&mut self, web: &Web, path: &str) -> Response<Bytes> {
        self.send(web, Request::builder().uri(path), Bytes::new()).await
    }

    /// Sends a form, as a page of the site does.
    pub(super) async fn post(&mut self, web: &Web, path: &str, fields: &[(&str, &str)]) -> Response<Bytes> {
        let request = Request::builder().method("POST").uri(path).header(ORIGIN, authenticator::ORIGIN);
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.send(web, request, body.into()).await
    }

    /// Signs in on the page, with what proves that a page of the site asked.
    pub(super) async fn sign_in(&mut self, web: &Web, name: &str, password: &str) -> Response<Bytes> {
        // Whoever is signed in already is asked all the same where the page is to lead somewhere.
        let proof = proof(&self.get(web, "/login?next=%2Faccount").await);
        self.post(web, "/login", &[("csrf", &proof), ("name", name), ("password", password)]).await
    }

    async fn send(&mut self, web: &Web, request: http::request::Builder, body: Bytes) -> Response<Bytes> {
        let cookies: Vec<String> = self.cookies.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut request = request.header(HOST, "mcias.example");
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if !cookies.is_empty() {
            request = request.header(COOKIE, cookies.join("; "));
        }
        let answer = web.answer(request.body(body).unwrap(), (self.address, 1).into()).await;
        for cookie in answer.headers().get_all(SET_COOKIE) {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (key, value) = pair.split_once('=').unwrap();
            match value.is_empty() {
                true => self.cookies.remove(key),
                false => self.cookies.insert(key.to_owned(), value.to_owned()),
            };
        }
        answer
    }

    pub(super) fn is_signed_in(&self) -> bool {
        self.cookies.contains_key("__Host-mcias")
    }
}

pub(super) fn text(answer: &Response<Bytes>) -> String {
    String::from_utf8(answer.body().to_vec()).unwrap()
}

/// What proves that a page of the site has the form.
pub(super) fn proof(page: &Response<Bytes>) -> String {
    let page = text(page);
    let rest = page.split_once("name=\"csrf\" value=\"").unwrap_or_else(|| panic!("{page}")).1;
    rest.split('"').next().unwrap().to_owned()
}

/// A parameter of the address that the browser is sent to.
pub(super) fn parameter(address: &str, name: &str) -> Option<String> {
    let query = address.split_once('?')?.1;
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

pub(super) fn location(answer: &Response<Bytes>) -> String {
    answer.headers().get(LOCATION).map(|to| to.to_str().unwrap().to_owned()).unwrap_or_default()
}
