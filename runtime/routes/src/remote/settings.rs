//! Owns what mcrun.toml says of the way to another mcrun: `[drivers.remote]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use effect::units::Span;
use effect::{Code, Error, Result};
use serde::Deserialize;

/// `[drivers.remote]`: by mutual TLS to `address`, or over `socket` on the same machine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The socket of a mcrun on this machine.
    pub socket: Option<PathBuf>,
    /// Where the other mcrun listens: an address with a port, so that no name has to be found first.
    pub address: Option<SocketAddr>,
    /// The name that its certificate bears.
    pub name: Option<String>,
    /// The file of the certificates (PEM) by one of which its own is issued.
    pub ca: Option<PathBuf>,
    /// The id of the certificate of ours that is shown to it.
    pub certificate: Option<String>,
    /// In its place: a file with the certificate and its chain, in PEM.
    pub chain: Option<PathBuf>,
    /// And one with its key, in PEM.
    pub key: Option<PathBuf>,
    /// How long an answer may take.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
}

fn default_timeout() -> Span {
    Span::seconds(10)
}

/// Where the other mcrun is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Socket(PathBuf),
    Tls { address: SocketAddr, name: String, ca: PathBuf, shown: Shown },
}

/// What we show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    Record(String),
    Files { chain: PathBuf, key: PathBuf },
}

impl Settings {
    /// Refuses what the syntax cannot tell.
    ///
    /// # Errors
    /// `MC-U002` with the key that makes no sense.
    pub fn check(&self) -> Result<()> {
        self.place().map(drop)
    }

    pub(super) fn place(&self) -> Result<Place> {
        let wrong = |what: &str| Error::new(Code::Config, format!("[drivers.remote]: {what}"));
        let Self { socket, address, name, ca, certificate, chain, key, timeout } = self;
        if timeout.0.is_zero() {
            return Err(wrong("`timeout` is more than nothing"));
        }
        let tls = [name.is_some(), ca.is_some(), certificate.is_some(), chain.is_some(), key.is_some()];
        let address = match (socket, address) {
            (Some(socket), None) if !tls.contains(&true) => return Ok(Place::Socket(socket.clone())),
            (None, Some(address)) => *address,
            (Some(_), None) => return Err(wrong("`socket` needs no name and no certificates")),
            _ => return Err(wrong("it takes either `address` or `socket`")),
        };
        let shown = match (certificate, chain, key) {
            (Some(id), None, None) => Shown::Record(id.clone()),
            (None, Some(chain), Some(key)) => Shown::Files { chain: chain.clone(), key: key.clone() },
            _ => return Err(wrong("it takes either `certificate`, an id, or `chain` and `key`, two files")),
        };
        Ok(Place::Tls {
            address,
            name: name
                .clone()
                .ok_or_else(|| wrong("`name`, which the certificate there bears, is missing"))?,
            ca: ca
                .clone()
                .ok_or_else(|| wrong("`ca`, the file of who issued the certificate there, is missing"))?,
            shown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Place, String> {
        let settings: Settings = toml::from_str(text).map_err(|error| error.to_string())?;
        settings.place().map_err(|error| error.message)
    }

    #[test]
    fn a_place_is_told_in_one_way() {
        assert_eq!(read("socket = \"/run/a\"").unwrap(), Place::Socket("/run/a".into()));
        let tls = "address = \"192.0.2.1:9443\"\nname = \"edge.example\"\nca = \"/ca\"\n";
        assert!(read(&format!("{tls}certificate = \"rift\"")).is_ok());
        assert!(read(&format!("{tls}chain = \"/a\"\nkey = \"/b\"")).is_ok());
        for (text, why) in [
            ("", "either `address` or `socket`"),
            ("socket = \"/run/a\"\nname = \"x\"", "`socket` needs no name"),
            ("socket = \"/run/a\"\naddress = \"192.0.2.1:1\"", "either"),
            ("address = \"192.0.2.1:1\"\nname = \"a\"\nca = \"/a\"\nchain = \"/a\"", "`chain` and `key`"),
            ("address = \"192.0.2.1:1\"\nca = \"/a\"\ncertificate = \"a\"", "`name`"),
            ("address = \"192.0.2.1:1\"\nname = \"a\"\ncertificate = \"a\"", "`ca`"),
            ("address = \"edge:1\"", "socket address"),
            ("socket = \"/run/a\"\ntimeout = \"0s\"", "`timeout`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
