//! Owns cookies that are set: each is bound to this very host, goes by TLS alone, and is out of reach of scripts.

use std::time::Duration;

use http::HeaderValue;

use super::answer::Refused;

/// The session: a token of the service itself.
pub const SESSION: &str = "__Host-mcias";

/// Sets a cookie of a name that begins with `__Host-`; until the browser ends, where no time is given.
///
/// # Errors
/// 500 for a value that cannot stand in a cookie.
pub fn set_cookie(name: &str, value: &str, lives: Option<Duration>) -> Result<HeaderValue, Refused> {
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | ',' | ';' | '\\');
    let age = lives.map(|lives| format!("; Max-Age={}", lives.as_secs())).unwrap_or_default();
    let text = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax{age}");
    match HeaderValue::from_str(&text) {
        Ok(mut header) if value.chars().all(fits) => {
            header.set_sensitive(true);
            Ok(header)
        }
        _ => Err(effect::Error::new(effect::Code::Internal, "a cookie cannot be set").into()),
    }
}

/// Takes a cookie away.
///
/// # Errors
/// As [`set_cookie`].
pub fn forget_cookie(name: &str) -> Result<HeaderValue, Refused> {
    set_cookie(name, "", Some(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_smuggled_into_a_cookie() {
        let set = set_cookie(SESSION, "abc", Some(Duration::from_secs(60))).unwrap();
        assert_eq!(set, "__Host-mcias=abc; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=60");
        for wrong in ["a;b", "a\r\nSet-Cookie: b=c", "a b"] {
            assert!(set_cookie(SESSION, wrong, None).is_err(), "{wrong:?}");
        }
    }
}
