//! Owns reading a request: its path, its parameters, its body, its cookies. Whatever could be read in two ways is refused.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE};
use http::{HeaderMap, Method, Request};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::answer::Refused;

/// Parameters of a form or a query.
const MOST_PARAMETERS: usize = 32;
const LONGEST_NAME: usize = 128;
/// Of all cookies together, and how many there are.
const LONGEST_COOKIES: usize = 8 << 10;
const MOST_COOKIES: usize = 64;

/// A request whose body is there.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The request.
    pub request: &'a Request<Bytes>,
    /// From where it comes; of what a trusted proxy passes on, from where it came there.
    pub peer: IpAddr,
}

/// Parameters, each of which is given once.
#[derive(Default)]
pub struct Form(Vec<(String, Zeroizing<String>)>);

impl Form {
    /// Reads what a browser sends of a form (`application/x-www-form-urlencoded`).
    ///
    /// # Errors
    /// 400 where a parameter is given twice, is not UTF-8, or there are too many.
    pub fn read(octets: &[u8]) -> Result<Self, Refused> {
        let mut read: Vec<(String, Zeroizing<String>)> = Vec::new();
        for part in octets.split(|octet| *octet == b'&').filter(|part| !part.is_empty()) {
            // What is no UTF-8 would come out as replacement characters, which are another text.
            let plain = percent_encoding::percent_decode(part);
            if plain.decode_utf8().is_err() {
                return Err(Refused::malformed("a parameter is not UTF-8"));
            }
            let Some((name, value)) = form_urlencoded::parse(part).next() else { continue };
            if read.len() == MOST_PARAMETERS || name.len() > LONGEST_NAME {
                return Err(Refused::malformed("there are too many parameters"));
            }
            if read.iter().any(|(known, _)| *known == name) {
                return Err(Refused::malformed("a parameter is given twice"));
            }
            read.push((name.into_owned(), Zeroizing::new(value.into_owned())));
        }
        Ok(Self(read))
    }

    /// A parameter; nothing where it is not given.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that must be given, and not empty.
    ///
    /// # Errors
    /// 400 with its name.
    pub fn need(&self, name: &'static str) -> Result<&str, Refused> {
        self.get(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| Refused::malformed(format!("`{name}` is missing")))
    }

    /// Refuses parameters beyond these.
    ///
    /// # Errors
    /// 400.
    pub fn only(&self, known: &[&str]) -> Result<(), Refused> {
        match self.0.iter().all(|(name, _)| known.contains(&name.as_str())) {
            true => Ok(()),
            false => Err(Refused::malformed("a parameter is not known here")),
        }
    }
}

impl<'a> Asked<'a> {
    /// The path as it was sent.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.request.uri().path()
    }

    /// Its parts, decoded.
    ///
    /// # Errors
    /// 400 where one is not UTF-8, or has a slash or a control character within.
    pub fn parts(&self) -> Result<Vec<String>, Refused> {
        let decoded = |part: &str| {
            let part = percent_decode_str(part).decode_utf8().ok()?.into_owned();
            (!part.contains('/') && !part.contains(char::is_control)).then_some(part)
        };
        let parts: Option<Vec<String>> = self.path().split('/').skip(1).map(decoded).collect();
        parts.ok_or_else(|| Refused::malformed("the path cannot be read"))
    }

    /// Refuses other methods. HEAD is as good as GET.
    ///
    /// # Errors
    /// 405 with those that there are.
    pub fn only(&self, methods: &[Method]) -> Result<(), Refused> {
        let method = self.request.method();
        let is_one = methods.contains(method) || method == Method::HEAD && methods.contains(&Method::GET);
        if is_one {
            return Ok(());
        }
        let allowed: Vec<&str> = methods.iter().map(Method::as_str).collect();
        Err(Refused::method(&allowed.join(", ")))
    }

    /// Whether it asks to change something.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        !matches!(*self.request.method(), Method::GET | Method::HEAD)
    }

    /// A header that is given once.
    ///
    /// # Errors
    /// 400 where it is given twice, or is no text.
    pub fn header(&self, name: &str) -> Result<Option<&'a str>, Refused> {
        one(self.request.headers(), name)
    }

    /// The parameters of the address.
    ///
    /// # Errors
    /// As [`Form::read`].
    pub fn query(&self) -> Result<Form, Refused> {
        Form::read(self.request.uri().query().unwrap_or_default().as_bytes())
    }

    /// The parameters of a form that was sent.
    ///
    /// # Errors
    /// 400 where the body is no form, else as [`Form::read`].
    pub fn form(&self) -> Result<Form, Refused> {
        self.of_type("application/x-www-form-urlencoded")?;
        Form::read(self.request.body())
    }

    /// The body as JSON. Types that it is read into refuse unknown fields.
    ///
    /// # Errors
    /// 400 where it is something else. What was sent is not repeated.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Refused> {
        self.of_type("application/json")?;
        serde_json::from_slice(self.request.body()).map_err(|error| {
            // A value would stand in what serde says of a wrong one.
            let why = match error.classify() {
                serde_json::error::Category::Data => {
                    "a field is missing, unknown, given twice, or of another type"
                }
                _ => "it is no JSON",
            };
            Refused::malformed(format!("the body, line {}, column {}: {why}", error.line(), error.column()))
        })
    }

    fn of_type(&self, wanted: &str) -> Result<(), Refused> {
        let kind = self.header(CONTENT_TYPE.as_str())?.unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        match kind.eq_ignore_ascii_case(wanted) {
            true => Ok(()),
            false => Err(Refused::malformed(format!("the body must be `{wanted}`"))),
        }
    }

    /// A cookie that is given once: of two with one name nobody knows which is ours.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&'a str> {
        let cookies = one(self.request.headers(), COOKIE.as_str()).ok()??;
        if cookies.len() > LONGEST_COOKIES {
            return None;
        }
        let pairs = cookies.split(';').take(MOST_COOKIES).filter_map(|pair| pair.trim().split_once('='));
        let mut values = pairs.filter(|(known, _)| *known == name).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (Some(value), None) if !value.is_empty() => Some(value),
            _ => None,
        }
    }

    /// The token in `Authorization: Bearer …`.
    ///
    /// # Errors
    /// 401 for another scheme.
    pub fn bearer(&self) -> Result<Option<&'a str>, Refused> {
        let Some(value) = self.header(AUTHORIZATION.as_str())? else { return Ok(None) };
        let token = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let token = token.map(|(_, token)| token.trim());
        token.filter(|token| !token.is_empty()).map(Some).ok_or_else(Refused::unauthenticated)
    }
}

/// The only value of a header.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Refused> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            value.to_str().map(Some).map_err(|_| Refused::malformed("a header is no text"))
        }
        (Some(_), Some(_)) => Err(Refused::malformed("a header is given twice")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(text: &str) -> Option<String> {
        let request = Request::builder().header(COOKIE, text).body(Bytes::new()).unwrap();
        let asked = Asked { request: &request, peer: [192, 0, 2, 1].into() };
        asked.cookie("a").map(str::to_owned)
    }

    #[test]
    fn a_parameter_that_is_given_twice_is_refused() {
        let form = Form::read(b"a=1&b=%20x+y&c=").unwrap();
        assert_eq!((form.get("a"), form.get("b"), form.get("c")), (Some("1"), Some(" x y"), Some("")));
        assert!(form.need("c").is_err() && form.only(&["a", "b"]).is_err());
        for wrong in ["a=1&a=2", "a=%ff", "a=1&%61=2"] {
            assert!(Form::read(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let many: String = (0..=MOST_PARAMETERS).map(|number| format!("n{number}=1&")).collect();
        assert!(Form::read(many.as_bytes()).is_err());
    }

    #[test]
    fn of_two_cookies_with_one_name_none_counts() {
        assert_eq!(cookies("b=2; a=1"), Some("1".into()));
        assert_eq!(cookies("a=1; a=2"), None);
        assert_eq!(cookies("a="), None);
    }

    #[test]
    fn a_path_has_no_slash_in_disguise() {
        let parts = |path: &str| {
            let request = Request::builder().uri(path).body(Bytes::new()).unwrap();
            Asked { request: &request, peer: [192, 0, 2, 1].into() }.parts()
        };
        assert_eq!(parts("/v1/a%2Db").unwrap(), ["v1", "a-b"]);
        for wrong in ["/v1/a%2fb", "/v1/%00", "/v1/%ff"] {
            assert!(parts(wrong).is_err(), "{wrong}");
        }
    }
}
