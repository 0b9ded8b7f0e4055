//! Owns who calls, and which calls that allows.

use effect::{Code, Error, Result};
use tokio::net::UnixStream;

use super::Settings;
use crate::socket;

/// Calls that change nothing. Whoever may read only may make no others: a new call is not among them by itself.
const READING: &[&str] = &[
    "/mcrun.v1.Daemon/Handshake",
    "/mcrun.v1.Events/WatchEvents",
    "/mcrun.v1.Playbooks/GetPlaybook",
    "/mcrun.v1.Playbooks/GetSources",
    "/mcrun.v1.Playbooks/ListOccurrences",
    "/mcrun.v1.Playbooks/ListPlaybooks",
    "/mcrun.v1.Playbooks/ListVersions",
    "/mcrun.v1.Runs/GetRun",
    "/mcrun.v1.Runs/ListRuns",
    "/mcrun.v1.Runs/WatchRun",
    "/mcrun.v1.Services/GetService",
    "/mcrun.v1.Services/ListServices",
];

/// What a holder of a certificate may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Operator,
    /// List, get and watch.
    Reader,
}

/// Who makes calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A user of this machine who may use the socket.
    User(u32),
    /// A user of this machine who may not.
    Stranger(u32),
    /// The holder of a certificate.
    Holder {
        /// The first of its names that is listed, or the first.
        name: String,
        /// What that may do; nothing where it is not listed.
        role: Option<Role>,
    },
}

impl Caller {
    /// Whoever is at the other end of a connection to the socket, whose mode lets others than its owner in where it is
    /// shared.
    pub(super) fn at(stream: &UnixStream, is_shared: bool) -> Self {
        // The kernel says who connected, not who writes.
        let user = stream.peer_cred().map_or(u32::MAX, |peer| peer.uid());
        let own = rustix::process::geteuid().as_raw();
        // Beyond these two, the mode of the file has decided who could connect.
        match user == 0 || user == own || is_shared {
            true => Self::User(user),
            false => Self::Stranger(user),
        }
    }

    /// Whoever holds a certificate with these names.
    pub(super) fn holding(names: &[String], settings: &Settings) -> Self {
        let listed = |list: &[String]| names.iter().find(|name| list.contains(name)).cloned();
        match (listed(&settings.operators), listed(&settings.readers)) {
            (Some(name), _) => Self::Holder { name, role: Some(Role::Operator) },
            (None, Some(name)) => Self::Holder { name, role: Some(Role::Reader) },
            (None, None) => Self::Holder { name: names.first().cloned().unwrap_or_default(), role: None },
        }
    }

    /// Whether it may change nothing.
    pub(super) fn only_reads(&self) -> bool {
        matches!(self, Self::Holder { role: Some(Role::Reader), .. })
    }

    /// Who that is, for a cause that is recorded: `user root`.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::User(user) | Self::Stranger(user) => format!("user {}", socket::user_name(*user)),
            Self::Holder { name, .. } => format!("certificate {name}"),
        }
    }

    /// Refuses a call, `/mcrun.v1.Runs/CancelRun`, that the caller may not make.
    ///
    /// # Errors
    /// `MC-V003`, `MC-V004`.
    pub(super) fn check(&self, call: &str) -> Result<()> {
        match self {
            Self::User(_) | Self::Holder { role: Some(Role::Operator), .. } => Ok(()),
            Self::Holder { role: Some(Role::Reader), name } => {
                // What describes the API, and whether it answers, is nobody's secret.
                if READING.contains(&call) || call.starts_with("/grpc.") {
                    return Ok(());
                }
                let call = call.rsplit('/').next().unwrap_or_default();
                Err(Error::new(
                    Code::ApiRole,
                    format!("`{name}` may read only, and `{call}` changes something"),
                ))
            }
            Self::Stranger(user) => {
                let message = format!("the user {} may not call this daemon", socket::user_name(*user));
                Err(Error::new(Code::ApiUser, message))
            }
            Self::Holder { role: None, name } => Err(Error::new(
                Code::ApiUser,
                format!("no certificate with the name `{name}` may call this daemon"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_that_a_reader_may_make_exists_and_is_one_of_reading() {
        use prost::Message as _;
        let set = prost_types::FileDescriptorSet::decode(api::DESCRIPTORS).unwrap();
        let known: Vec<String> = (set.file.iter())
            .flat_map(|file| file.service.iter().map(move |service| (file.package(), service)))
            .flat_map(|(package, service)| {
                let name = format!("/{package}.{}", service.name());
                service.method.iter().map(move |method| format!("{name}/{}", method.name()))
            })
            .collect();
        for call in READING {
            assert!(known.iter().any(|known| known == call), "{call}");
            let verb = call.rsplit('/').next().unwrap();
            assert!(
                ["List", "Get", "Watch", "Handshake"].iter().any(|begin| verb.starts_with(begin)),
                "{call}"
            );
        }
        let reader = Caller::Holder { name: "r".into(), role: Some(Role::Reader) };
        let refused = reader.check("/mcrun.v1.Runs/CancelRun").unwrap_err();
        assert_eq!(refused.code, Code::ApiRole);
        assert!(refused.message.contains("`CancelRun`"));
    }

    #[test]
    fn a_certificate_has_the_most_that_one_of_its_names_may_do() {
        let settings =
            Settings { operators: vec!["ops".into()], readers: vec!["eyes".into()], ..Settings::default() };
        let holding = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            Caller::holding(&names, &settings)
        };
        assert_eq!(
            holding(&["eyes", "ops"]),
            Caller::Holder { name: "ops".into(), role: Some(Role::Operator) }
        );
        assert_eq!(holding(&["x", "eyes"]).shown(), "certificate eyes");
        assert_eq!(holding(&["x"]).check("/mcrun.v1.Runs/ListRuns").unwrap_err().code, Code::ApiUser);
    }
}
