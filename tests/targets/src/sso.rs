//! What a browser can be made to ask of single sign-on.

use mcias::sso::{self, Grounds, Pairs, Request};

/// The query of an authorization request, or of the way back from another issuer.
pub fn sso(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(path) = sso::site_path(text) {
        assert!(path.starts_with('/') && !path.starts_with("//") && !path.contains('\\'), "another site");
        assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "a header is split");
    }
    if sso::check("redirect_uris", text).is_ok() {
        assert!(text.starts_with("https://") || text.starts_with("http://"), "another scheme");
        assert!(!text.contains(['#', '*', '\\']) && text.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    let Some(pairs) = Pairs::parse(text) else { return };
    if let Ok(grounds) = Grounds::read(&pairs) {
        assert!(!grounds.redirect_uri.contains(char::is_control));
        assert!(grounds.state.is_none_or(|state| state.len() <= 1024));
    }
    if let Ok(request) = Request::read(&pairs) {
        assert_eq!(request.challenge.len(), 43, "a challenge that SHA-256 does not make");
        assert!(request.scopes.text().starts_with("openid"));
    }
}
