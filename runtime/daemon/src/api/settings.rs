//! Owns `[daemon.api]`: where calls are answered, and for whom.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use effect::access::Rule;
use effect::{Code, Error, Result};
use serde::Deserialize;

/// The socket beneath the state directory.
const SOCKET: &str = "daemon.sock";
const MOST_NAMES: usize = 1000;

/// `[daemon.api]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The socket; `daemon.sock` beneath the state directory unless given.
    pub socket: Option<PathBuf>,
    /// The group that may use it, beside root and the daemon's own user.
    pub group: Option<String>,
    /// Who may use it, as octal digits: `"0660"`; `"0600"` unless given, and `"0660"` with a group.
    pub mode: Option<String>,
    /// Where calls are taken by mutual TLS: nowhere unless given.
    pub listen: Option<SocketAddr>,
    /// The name that the daemon's certificate bears.
    pub host: Option<String>,
    /// Certificates of those who issue certificates of callers, in PEM; the embedded authority unless given.
    pub client_ca: Option<PathBuf>,
    /// Whether calls from afar may present a token of the service `mcrun` in the place of a certificate; what they may do is
    /// said by `[access]`.
    pub tokens: bool,
    /// Names in certificates of callers who may do everything.
    pub operators: Vec<String>,
    /// Names in certificates of callers who may list, get and watch.
    pub readers: Vec<String>,
}

fn wrong<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::new(Code::Config, what))
}

impl Settings {
    /// Refuses what the syntax cannot tell.
    ///
    /// # Errors
    /// `MC-U002` with the key that makes no sense.
    pub fn check(&self) -> Result<()> {
        self.mode_bits()?;
        if self.socket.as_ref().is_some_and(|path| !path.is_absolute()) {
            return wrong("[daemon.api] `socket` is an absolute path");
        }
        let is_by_tls = self.host.is_some()
            || self.client_ca.is_some()
            || self.tokens
            || !self.operators.is_empty()
            || !self.readers.is_empty();
        match self.listen {
            None if is_by_tls => {
                return wrong(
                    "[daemon.api] `host`, `client_ca`, `tokens`, `operators` and `readers` go with `listen`",
                );
            }
            None => return Ok(()),
            Some(_) => {}
        }
        if self.host.is_none() {
            return wrong("[daemon.api] `listen` takes `host`: the name that the daemon's certificate bears");
        }
        let names = [("operators", &self.operators), ("readers", &self.readers)];
        if names.iter().all(|(_, names)| names.is_empty()) && !self.tokens {
            return wrong(
                "[daemon.api] `listen` takes `operators`, `readers` or `tokens`: nobody may call otherwise",
            );
        }
        for (key, names) in names {
            if names.len() > MOST_NAMES {
                return wrong(format!("[daemon.api] `{key}` has more than {MOST_NAMES} names"));
            }
            if let Some(name) = names.iter().find(|name| name.is_empty() || name.contains(['*', ' '])) {
                return wrong(format!("[daemon.api] `{key}`: `{name}` is no name that a certificate bears"));
            }
        }
        if let Some(name) = self.operators.iter().find(|name| self.readers.contains(name)) {
            return wrong(format!("[daemon.api] `{name}` is among `operators` and `readers`"));
        }
        Ok(())
    }

    /// What `operators` and `readers` mean, as rules of access, each with its name.
    #[must_use]
    pub fn rules(&self) -> Vec<(String, Rule)> {
        let rule = |key: &str, name: &String, action: &str| {
            (format!("[daemon.api] {key}: {name}"), Rule::for_certificate(name, action))
        };
        let operators = self.operators.iter().map(|name| rule("operators", name, "*"));
        let readers = self.readers.iter().map(|name| rule("readers", name, "*.read"));
        operators.chain(readers).collect()
    }

    /// Where the socket is, of the daemon of a state directory.
    #[must_use]
    pub fn socket_in(&self, state: &Path) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| state.join(SOCKET))
    }

    /// The mode of the socket, where one is given.
    ///
    /// # Errors
    /// `MC-U002` where it is none.
    pub fn mode_bits(&self) -> Result<Option<u32>> {
        let Some(text) = &self.mode else { return Ok(None) };
        let is_octal =
            (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        match u32::from_str_radix(text, 8) {
            // Its owner is the daemon, which the command line of the same user speaks to.
            Ok(mode) if is_octal && mode & !0o666 == 0 && mode & 0o600 == 0o600 => Ok(Some(mode)),
            _ => wrong(format!("[daemon.api] `mode`: `{text}` is none of a socket, such as \"0660\"")),
        }
    }

    /// Whether the file's mode lets others than its owner in.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        match self.mode_bits() {
            Ok(Some(mode)) => mode & 0o077 != 0,
            _ => self.group.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<Settings, String> {
        let settings: Settings = toml::from_str(text).map_err(|error| error.to_string())?;
        settings.check().map_err(|error| error.message)?;
        Ok(settings)
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_key() {
        for (text, word) in [
            ("mode = \"660x\"", "mode"),
            ("mode = \"0777\"", "mode"),
            ("mode = \"0060\"", "mode"),
            ("socket = \"daemon.sock\"", "socket"),
            ("host = \"a.example\"", "listen"),
            ("listen = \"127.0.0.1:1\"", "host"),
            ("listen = \"127.0.0.1:1\"\nhost = \"a.example\"", "operators"),
            ("listen = \"127.0.0.1:1\"\nhost = \"a.example\"\nreaders = [\"*.example\"]", "readers"),
            (
                "listen = \"127.0.0.1:1\"\nhost = \"a.example\"\nreaders = [\"b\"]\noperators = [\"b\"]",
                "among",
            ),
            ("lisen = \"127.0.0.1:1\"", "lisen"),
        ] {
            let error = checked(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn the_socket_is_its_owners_unless_more_is_said() {
        let none = checked("").unwrap();
        assert_eq!(none.socket_in(Path::new("/s")), Path::new("/s/daemon.sock"));
        assert!(!none.is_shared() && checked("group = \"mcrun\"").unwrap().is_shared());
        let own = checked("group = \"mcrun\"\nmode = \"0600\"").unwrap();
        assert!(!own.is_shared() && own.mode_bits().unwrap() == Some(0o600));
    }
}
