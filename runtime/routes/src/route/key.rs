//! Owns what a route is known by: port, host name and path.

use std::fmt;
use std::str::FromStr;

use effect::{Code, Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Hostname;

const LONGEST: usize = 1024;

/// Where paths must begin; `/` for every path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Path(String);

impl Default for Path {
    fn default() -> Self {
        Self("/".into())
    }
}

impl Path {
    /// As text, without a `/` at its end but for the one that is all of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a request for `path` (without its query) is for it.
    #[must_use]
    pub fn takes(&self, path: &str) -> bool {
        self.0 == "/"
            || path.strip_prefix(&*self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl TryFrom<String> for Path {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fits = |byte: u8| byte.is_ascii_graphic() && !b"?#\\*%".contains(&byte);
        let is_plain = text.starts_with('/') && text.len() <= LONGEST && text.bytes().all(fits);
        let has_dots = text.split('/').any(|segment| segment == "." || segment == "..");
        if !is_plain || has_dots || text.contains("//") {
            let shown: String = text.chars().take(80).collect();
            return Err(format!("`{shown}` is not the beginning of a path, such as \"/\" or \"/api\""));
        }
        let bare = text.trim_end_matches('/');
        Ok(Self(if bare.is_empty() { "/".into() } else { bare.to_owned() }))
    }
}

impl From<Path> for String {
    fn from(path: Path) -> Self {
        path.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a route is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The port.
    pub listen: u16,
    /// The host name.
    pub hostname: Hostname,
    /// Where paths begin.
    #[serde(default)]
    pub path: Path,
}

/// `mcq.example.net:443/api`; the path only where it is not `/`.
impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.hostname, self.listen)?;
        if self.path != Path::default() {
            write!(formatter, "{}", self.path)?;
        }
        Ok(())
    }
}

impl FromStr for Key {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = || {
            let shown: String = text.chars().take(80).collect();
            Error::new(Code::Argument, format!("`{shown}` is not a route such as `mcq.example.net:443/api`"))
        };
        let (place, path) = match text.find('/') {
            Some(at) => (&text[..at], Path::try_from(text[at..].to_owned()).map_err(|_| refused())?),
            None => (text, Path::default()),
        };
        let (hostname, listen) = place.rsplit_once(':').ok_or_else(refused)?;
        let listen = listen.parse().ok().filter(|port| *port > 0).ok_or_else(refused)?;
        Ok(Self { listen, hostname: hostname.parse()?, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_as_it_is_written() {
        for text in ["mcq.example.net:443", "*.example.net:8443/api/v1", "*:80"] {
            assert_eq!(text.parse::<Key>().unwrap().to_string(), text);
        }
        for text in ["mcq.example.net", "mcq.example.net:0", "mcq.example.net:x/", ":443"] {
            assert!(text.parse::<Key>().is_err(), "{text}");
        }
    }

    #[test]
    fn paths_are_taken_by_whole_segments() {
        let path = Path::try_from("/api/".to_owned()).unwrap();
        assert_eq!(path.as_str(), "/api");
        assert!(path.takes("/api") && path.takes("/api/x") && !path.takes("/apix") && !path.takes("/"));
        assert!(Path::default().takes("/") && Path::default().takes("*"));
        for wrong in ["", "api", "/a/../b", "/a?b", "//", "/%41", "/a b"] {
            assert!(Path::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
