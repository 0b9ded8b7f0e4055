//! Owns how drivers come by secrets: by name, and only those that may go to them.

use std::sync::Arc;

use effect::{Code, Error, Result};
use http::HeaderValue;
use zeroize::Zeroizing;

/// The secrets that one driver may have.
#[derive(Clone)]
pub struct Secrets {
    source: Arc<dyn effect::Secrets>,
    destination: &'static str,
}

impl Secrets {
    /// Those of `source` whose `to` lists `destination`, such as `dns:rfc2136`.
    #[must_use]
    pub fn new(source: Arc<dyn effect::Secrets>, destination: &'static str) -> Self {
        Self { source, destination }
    }

    /// The value of the secret `name`, without line ends after it.
    ///
    /// # Errors
    /// `MC-P010` and `MC-P012` where it has none, `MC-P011` where it may not go to this driver.
    pub async fn value(&self, name: &str) -> Result<Zeroizing<Vec<u8>>> {
        self.source.look(name).await?;
        if !self.source.may_go(name, self.destination)? {
            let message = format!("the secret `{name}` may not go to `{}`", self.destination);
            return Err(Error::new(Code::SecretPlace, message).hint(format!(
                "list it under [secrets.\"{name}\"] in mcrun.toml: `to = [\"{}\"]`",
                self.destination
            )));
        }
        let (version, value) = self.source.current(name).await?;
        self.source.used(name, version, self.destination).await?;
        Ok(Zeroizing::new(value.trim_ascii_end().to_vec()))
    }

    /// The secret `name` as the token of the header `authorization` (RFC 6750, section 2.1).
    ///
    /// # Errors
    /// As [`Secrets::value`], and `MC-U002` where it holds what a header cannot.
    pub async fn bearer(&self, name: &str) -> Result<HeaderValue> {
        let value = self.value(name).await?;
        let bearer = Zeroizing::new([b"Bearer ".as_slice(), &value].concat());
        let mut header = HeaderValue::from_bytes(&bearer).map_err(|_| {
            let message = format!("the secret `{name}` is no token: it holds what a header cannot");
            Error::new(Code::Config, message)
        })?;
        header.set_sensitive(true);
        Ok(header)
    }
}
