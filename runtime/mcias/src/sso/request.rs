//! Owns what somebody may ask of the provider: the parameters of an authorization request, taken apart before anything is
//! looked up or anybody is sent anywhere.

use super::denial::{Denial, Kind};
use super::query::Pairs;
use crate::name::Name;

/// `state` and `nonce` are kept and sent back, so they are bounded.
const LONGEST_WORD: usize = 1024;

/// Something that a client may learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Who somebody is.
    OpenId,
    /// What they are called.
    Profile,
    /// Their address.
    Email,
    /// Their groups and roles.
    Groups,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::OpenId, Self::Profile, Self::Email, Self::Groups];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenId => "openid",
            Self::Profile => "profile",
            Self::Email => "email",
            Self::Groups => "groups",
        }
    }
}

/// What a client may learn, as it asked for it. Words that are not known are left out (OpenID Connect Core, section 3.1.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// The scopes of a text with blanks between them.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let asked: Vec<&str> = text.split(' ').collect();
        Self(Scope::ALL.into_iter().filter(|scope| asked.contains(&scope.as_str())).collect())
    }

    /// Whether `scope` is among them.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }

    /// The same as text.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" ")
    }
}

/// Whether somebody may be asked who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prompt {
    /// Nobody may be asked.
    None,
    /// They are asked again.
    Login,
}

/// What has to be right before a browser may be sent back at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grounds<'a> {
    /// The client.
    pub client: Name,
    /// Where it wants the browser back.
    pub redirect_uri: &'a str,
    /// What it wants back unchanged.
    pub state: Option<&'a str>,
}

impl<'a> Grounds<'a> {
    /// Reads them. What is wrong here is shown and never sent anywhere.
    ///
    /// # Errors
    /// What is wrong.
    pub fn read(pairs: &'a Pairs) -> Result<Self, Denial> {
        let wrong = |description| Denial::new(Kind::InvalidRequest, description);
        let client = pairs.get("client_id").ok_or(wrong("client_id is missing"))?;
        let redirect_uri = pairs.get("redirect_uri").ok_or(wrong("redirect_uri is missing"))?;
        let state = pairs.get("state");
        if state.is_some_and(|state| state.len() > LONGEST_WORD) {
            return Err(wrong("state is longer than 1024 bytes"));
        }
        let client = client.parse().ok().filter(|name: &Name| name.as_str() == client);
        let client = client.ok_or(Denial::new(Kind::InvalidClient, "there is no such client"))?;
        Ok(Self { client, redirect_uri, state })
    }
}

/// The rest of what a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// What it wants to learn.
    pub scopes: Scopes,
    /// What it wants back in the ID token.
    pub nonce: Option<&'a str>,
    /// SHA-256 of what it will show when it redeems the code.
    pub challenge: &'a str,
    /// Whether somebody may be asked who they are.
    pub prompt: Option<Prompt>,
    /// How long ago somebody may have signed in, in seconds.
    pub max_age: Option<u64>,
}

impl<'a> Request<'a> {
    /// Reads it. What is wrong here is told to the client.
    ///
    /// # Errors
    /// What is wrong.
    pub fn read(pairs: &'a Pairs) -> Result<Self, Denial> {
        let wrong = |description| Err(Denial::new(Kind::InvalidRequest, description));
        for (key, kind) in [
            ("request", Kind::RequestNotSupported),
            ("request_uri", Kind::RequestUriNotSupported),
            ("registration", Kind::RegistrationNotSupported),
        ] {
            if pairs.get(key).is_some() {
                return Err(Denial::new(kind, "this provider does not take it"));
            }
        }
        match pairs.get("response_type") {
            Some("code") => {}
            None => return wrong("response_type is missing"),
            Some(_) => {
                return Err(Denial::new(Kind::UnsupportedResponseType, "the only response_type is code"));
            }
        }
        if pairs.get("response_mode").is_some_and(|mode| mode != "query") {
            return wrong("the only response_mode is query");
        }
        let scopes = Scopes::parse(pairs.get("scope").unwrap_or_default());
        if !scopes.has(Scope::OpenId) {
            return Err(Denial::new(Kind::InvalidScope, "scope has to contain openid"));
        }
        let Some(challenge) = pairs.get("code_challenge") else {
            return wrong("code_challenge is missing: PKCE is not optional here");
        };
        // Without a method it would be `plain`, which whoever reads the request can answer.
        if pairs.get("code_challenge_method") != Some("S256") || !is_challenge(challenge) {
            return wrong("the only code_challenge_method is S256");
        }
        let nonce = pairs.get("nonce");
        if nonce.is_some_and(|nonce| nonce.len() > LONGEST_WORD) {
            return wrong("nonce is longer than 1024 bytes");
        }
        let prompts: Vec<&str> =
            pairs.get("prompt").map(|text| text.split(' ').collect()).unwrap_or_default();
        if prompts.contains(&"none") && prompts.len() > 1 {
            return wrong("prompt none goes with no other");
        }
        let prompt = if prompts.contains(&"none") {
            Some(Prompt::None)
        } else {
            let again = ["login", "select_account"].iter().any(|word| prompts.contains(word));
            again.then_some(Prompt::Login)
        };
        let max_age = match pairs.get("max_age").map(str::parse) {
            None => None,
            Some(Ok(age)) => Some(age),
            Some(Err(_)) => return wrong("max_age is no number of seconds"),
        };
        Ok(Self { scopes, nonce, challenge, prompt, max_age })
    }
}

/// Whether it is SHA-256 in base 64 (RFC 7636, section 4.2).
fn is_challenge(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Whether it is what a challenge can be made of (RFC 7636, section 4.1).
pub(crate) fn is_verifier(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    (43..=128).contains(&text.len()) && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn read(query: &str) -> Result<Option<u64>, Kind> {
        let pairs = Pairs::parse(query).unwrap();
        Grounds::read(&pairs).map_err(|denial| denial.kind)?;
        Request::read(&pairs).map(|request| request.max_age).map_err(|denial| denial.kind)
    }

    #[test]
    fn what_is_missing_or_not_spoken_here_is_named() {
        let grounds = "client_id=mcq&redirect_uri=https://mcq.example/cb";
        let good = format!(
            "{grounds}&response_type=code&scope=openid&code_challenge={CHALLENGE}&code_challenge_method=S256"
        );
        assert_eq!(read(&good), Ok(None));
        assert_eq!(read(&format!("{good}&max_age=60&prompt=login&ui_locales=de")), Ok(Some(60)));
        let changed = |from: &str, to: &str| good.replace(from, to);
        for (query, kind) in [
            (changed("client_id=mcq", "x=y"), Kind::InvalidRequest),
            (changed("client_id=mcq", "client_id=MCQ"), Kind::InvalidClient),
            (changed("redirect_uri", "redirect"), Kind::InvalidRequest),
            (changed("type=code", "type=token"), Kind::UnsupportedResponseType),
            (changed("type=code", "type=code+id_token"), Kind::UnsupportedResponseType),
            (changed("response_type", "x"), Kind::InvalidRequest),
            (changed("openid", "profile"), Kind::InvalidScope),
            (changed("S256", "plain"), Kind::InvalidRequest),
            (changed("&code_challenge_method=S256", ""), Kind::InvalidRequest),
            (changed(CHALLENGE, ""), Kind::InvalidRequest),
            (changed(CHALLENGE, "short"), Kind::InvalidRequest),
            (format!("{good}&request=a.b.c"), Kind::RequestNotSupported),
            (format!("{good}&request_uri=https://evil.example"), Kind::RequestUriNotSupported),
            (format!("{good}&response_mode=fragment"), Kind::InvalidRequest),
            (format!("{good}&prompt=none+login"), Kind::InvalidRequest),
            (format!("{good}&max_age=-1"), Kind::InvalidRequest),
            (format!("{good}&nonce={}", "n".repeat(1025)), Kind::InvalidRequest),
            (format!("{good}&state={}", "n".repeat(1025)), Kind::InvalidRequest),
        ] {
            assert_eq!(read(&query), Err(kind), "{query}");
        }
    }

    #[test]
    fn a_verifier_is_of_its_letters() {
        assert!(is_verifier("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"));
        for text in ["", "short", &"a".repeat(129), &format!("{} ", "a".repeat(50))] {
            assert!(!is_verifier(text), "{text}");
        }
    }
}
