//! Owns where somebody goes on who has signed in, and in which language they like to be spoken to on the way there.

use super::asked::{Asked, Form};
use crate::external::Locale;
use crate::sso::{self, Pairs, paths};

/// Where people are at home here.
pub(super) const HOME: &str = "/account";

/// Where somebody goes on.
#[derive(Clone)]
pub(super) struct Onward {
    /// A path of ours.
    pub(super) next: String,
    /// The language, where an address named it.
    pub(super) locale: Option<Locale>,
}

impl Onward {
    /// As the parameters `next` and `locale` say; what makes no sense is left out.
    pub(super) fn of(given: &Form) -> Self {
        let next = given.get("next").and_then(sso::site_path).unwrap_or(HOME).to_owned();
        Self { next, locale: given.get("locale").and_then(Locale::read) }
    }

    /// To the account of whoever signs in.
    pub(super) fn home() -> Self {
        Self { next: HOME.to_owned(), locale: None }
    }

    /// A path of ours that leads there.
    pub(super) fn through(&self, path: &str) -> String {
        let locale = self.locale.as_ref().map(Locale::as_str);
        sso::with_parameters(path, &[("next", Some(&self.next)), ("locale", locale)])
    }

    /// The request of a client that it goes on to.
    pub(super) fn request(&self) -> Option<&str> {
        self.next.strip_prefix(paths::AUTHORIZE)?.strip_prefix('?')
    }

    /// The language as an address named it, or the client that somebody goes on to, or their browser.
    pub(super) fn spoken(&self, asked: &Asked<'_>) -> Option<Locale> {
        let by_client = || {
            let request = self.request().and_then(Pairs::parse)?;
            request.get("ui_locales").and_then(Locale::first_of)
        };
        let by_browser = || asked.header("accept-language").ok().flatten().and_then(Locale::preferred);
        self.locale.clone().or_else(by_client).or_else(by_browser)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;

    use super::*;

    #[test]
    fn the_nearest_word_for_a_language_counts() {
        let spoken = |query: &str, accepted: &str| {
            let request = Request::builder().header("accept-language", accepted).body(Bytes::new()).unwrap();
            let asked = Asked { request: &request, peer: [192, 0, 2, 1].into() };
            let onward = Onward::of(&Form::read(query.as_bytes()).unwrap());
            onward.spoken(&asked).map(|locale| locale.as_str().to_owned())
        };
        let client = "next=%2Fsso%2Fauthorize%3Fui_locales%3Dit%2Ben";
        assert_eq!(spoken("", "fr, en;q=0.1").as_deref(), Some("fr"));
        assert_eq!(spoken(client, "fr").as_deref(), Some("it"));
        assert_eq!(spoken(&format!("{client}&locale=de-AT"), "fr").as_deref(), Some("de-AT"));
        assert_eq!(spoken("locale=d%0d%0ae", "*"), None);
        let onward = Onward::of(&Form::read(b"next=%2Fa%3Fb%3Dc&locale=de").unwrap());
        assert_eq!(onward.through("/login"), "/login?next=%2Fa%3Fb%3Dc&locale=de");
        assert_eq!(Onward::home().through("/login"), "/login?next=%2Faccount");
    }
}
