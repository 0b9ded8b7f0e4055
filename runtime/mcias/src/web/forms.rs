//! Owns the proof that a form was shown by us to the browser that sends it: a keyed hash over a cookie that only this host
//! sets and over the session, so that a form of before a sign-in is no good after it.

use aws_lc_rs::constant_time;
use effect::Sealer;
use http::HeaderValue;

use super::answer::Refused;
use super::asked::{Asked, Form};
use super::cookies::{SESSION, set_cookie};
use crate::random;

/// What tells browsers apart, signed in or not.
const BROWSER: &str = "__Host-mcias-form";
/// The parameter, or the header where a script sends JSON.
const FIELD: &str = "csrf";
const HEADER: &str = "x-csrf";

/// Makes and checks the proof.
pub struct Forms<'a>(&'a Sealer);

/// What a page with a form needs.
pub struct Proof {
    /// The value of the field `csrf`, or of the header `x-csrf`.
    pub value: String,
    /// A cookie to set with the page, where the browser has none yet.
    pub cookie: Option<HeaderValue>,
}

impl<'a> Forms<'a> {
    pub(super) fn new(sealer: &'a Sealer) -> Self {
        Self(sealer)
    }

    /// The proof for a page that is shown to whoever asked.
    ///
    /// # Errors
    /// Only where the machine has no randomness.
    pub fn proof(&self, asked: &Asked<'_>) -> Result<Proof, Refused> {
        if let Some(browser) = asked.cookie(BROWSER) {
            return Ok(Proof { value: self.of(browser, asked.cookie(SESSION)), cookie: None });
        }
        let browser = random::token::<16>()?;
        let cookie = Some(set_cookie(BROWSER, &browser, None)?);
        Ok(Proof { value: self.of(&browser, asked.cookie(SESSION)), cookie })
    }

    /// Refuses a form that we did not show to this browser.
    ///
    /// # Errors
    /// 403.
    pub fn check(&self, asked: &Asked<'_>, form: &Form) -> Result<(), Refused> {
        self.check_value(asked, form.get(FIELD))
    }

    /// The same of a request by a script of ours, which has the proof in a header.
    ///
    /// # Errors
    /// 403.
    pub fn check_header(&self, asked: &Asked<'_>) -> Result<(), Refused> {
        self.check_value(asked, asked.header(HEADER)?)
    }

    fn check_value(&self, asked: &Asked<'_>, given: Option<&str>) -> Result<(), Refused> {
        let expected = asked.cookie(BROWSER).map(|browser| self.of(browser, asked.cookie(SESSION)));
        let is_it = expected.zip(given).is_some_and(|(expected, given)| {
            constant_time::verify_slices_are_equal(expected.as_bytes(), given.as_bytes()).is_ok()
        });
        if is_it {
            return Ok(());
        }
        let why = "the form is out of date: load the page again";
        Err(Refused::new(http::StatusCode::FORBIDDEN, "form", why))
    }

    fn of(&self, browser: &str, session: Option<&str>) -> String {
        let session = session.unwrap_or_default();
        self.0.tag(format!("mcias form {} {browser} {session}", browser.len()).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;
    use http::header::COOKIE;

    use super::*;

    #[test]
    fn a_form_is_good_for_the_browser_and_the_session_that_it_was_shown_to() {
        let folder = tempfile::tempdir().unwrap();
        let sealer = Sealer::open(folder.path()).unwrap();
        let forms = Forms::new(&sealer);
        let with = |cookies: &str| Request::builder().header(COOKIE, cookies).body(Bytes::new()).unwrap();
        let peer = [192, 0, 2, 1].into();
        let first = with("x=y");
        let proof = forms.proof(&Asked { request: &first, peer }).unwrap();
        let cookie = proof.cookie.unwrap().to_str().unwrap().split(';').next().unwrap().to_owned();
        let form = Form::read(format!("csrf={}", proof.value).as_bytes()).unwrap();
        let checked = |cookies: &str, form: &Form| {
            let request = with(cookies);
            forms.check(&Asked { request: &request, peer }, form).is_ok()
        };
        assert!(checked(&cookie, &form));
        assert!(!checked("x=y", &form), "another browser");
        assert!(!checked(&format!("{cookie}; {SESSION}=token"), &form), "after a sign-in");
        assert!(!checked(&cookie, &Form::default()), "without a proof");
    }
}
