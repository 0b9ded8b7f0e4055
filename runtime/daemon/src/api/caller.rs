//! Owns who calls: a user of this machine, whoever holds a certificate, or whom a token stands for. Leaves what that allows to [`super::gate`].

use std::net::SocketAddr;

use effect::Principal;
use effect::access::Policy;
use tokio::net::UnixStream;

use crate::socket;

/// Who makes calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A user of this machine who may use the socket.
    User {
        /// The user's name.
        name: String,
        /// Whether it is root or the user that the daemon runs as.
        is_owner: bool,
    },
    /// A user of this machine who may not.
    Stranger(String),
    /// The holder of a certificate.
    Holder {
        /// The names that it bears.
        names: Vec<String>,
        /// From where it calls.
        address: Option<SocketAddr>,
    },
    /// Whoever calls from afar with neither a certificate nor a token.
    Nobody {
        /// From where it calls.
        address: Option<SocketAddr>,
    },
    /// Whom a valid token stands for.
    Bearer {
        /// Its account.
        principal: Principal,
        /// From where it calls, where that is from afar.
        address: Option<SocketAddr>,
    },
}

impl Caller {
    /// Whoever is at the other end of a connection to the socket, whose mode lets others than its owner in where it is
    /// shared.
    pub(crate) fn at(stream: &UnixStream, is_shared: bool) -> Self {
        // The kernel says who connected, not who writes.
        let id = stream.peer_cred().map_or(u32::MAX, |peer| peer.uid());
        let is_owner = id == 0 || id == rustix::process::geteuid().as_raw();
        let name = socket::user_name(id);
        // Beyond these two, the mode of the file has decided who could connect.
        match is_owner || is_shared {
            true => Self::User { name, is_owner },
            false => Self::Stranger(name),
        }
    }

    /// Who that is, as rules know it: of several names in a certificate the first that a rule knows, or the first.
    pub(super) fn principal(&self, policy: &Policy) -> Principal {
        match self {
            Self::User { name, is_owner } => Principal::User { name: name.clone(), is_owner: *is_owner },
            Self::Stranger(name) => Principal::User { name: name.clone(), is_owner: false },
            Self::Nobody { .. } => Principal::Certificate { name: String::new() },
            Self::Bearer { principal, .. } => principal.clone(),
            Self::Holder { names, .. } => {
                let held = |name: &String| Principal::Certificate { name: name.clone() };
                let known = names.iter().map(held).find(|principal| policy.knows(principal));
                known.unwrap_or_else(|| held(&names.first().cloned().unwrap_or_default()))
            }
        }
    }

    /// From where it calls.
    pub(super) fn address(&self) -> Option<String> {
        match self {
            Self::Holder { address, .. } | Self::Nobody { address } | Self::Bearer { address, .. } => {
                address.map(|address| address.to_string())
            }
            Self::User { .. } | Self::Stranger(_) => None,
        }
    }

    /// In words, for the log.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::User { name, .. } | Self::Stranger(name) => format!("user:{name}"),
            Self::Holder { names, .. } => format!("certificate:{}", names.join(",")),
            Self::Nobody { .. } => "nobody".to_owned(),
            Self::Bearer { principal, .. } => principal.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Settings;

    #[test]
    fn of_several_names_in_a_certificate_the_one_counts_that_a_rule_knows() {
        let settings =
            Settings { operators: vec!["ops".into()], readers: vec!["eyes".into()], ..Settings::default() };
        let policy = Policy::new(&[], settings.rules()).unwrap();
        let of = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            Caller::Holder { names, address: None }.principal(&policy).to_string()
        };
        assert_eq!(of(&["x", "ops"]), "certificate:ops");
        assert_eq!(of(&["x", "eyes"]), "certificate:eyes");
        assert_eq!(of(&["x", "y"]), "certificate:x");
    }
}
