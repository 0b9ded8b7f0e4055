//! Owns who does something: a user of this machine, whoever holds a certificate, an account, or the daemon itself. Leaves how
//! that is found out to the rooms that are called, and what it allows to [`crate::access`].

use std::fmt;
use std::str::FromStr;

/// Who asks for something.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Principal {
    /// A user of this machine.
    User {
        /// The user's name, or number where it has none.
        name: String,
        /// Whether it is root or the user that the daemon runs as, who may do everything anyway.
        is_owner: bool,
    },
    /// Whoever holds a certificate.
    Certificate {
        /// A name that it bears.
        name: String,
    },
    /// A person's account.
    Account {
        /// Its name.
        name: String,
        /// `admin`, `user`, `guest`.
        roles: Vec<String>,
        /// Its groups.
        groups: Vec<String>,
    },
    /// The account of a service, which has no roles.
    System {
        /// The service's name.
        name: String,
        /// Its groups.
        groups: Vec<String>,
    },
    /// The daemon: triggers and what it looks after by itself.
    Daemon,
}

impl Principal {
    /// What rules name it by: its own form, then its roles and groups.
    pub(crate) fn forms(&self) -> impl Iterator<Item = String> + '_ {
        let (roles, groups): (&[String], &[String]) = match self {
            Self::Account { roles, groups, .. } => (roles, groups),
            Self::System { groups, .. } => (&[], groups),
            _ => (&[], &[]),
        };
        std::iter::once(self.to_string())
            .chain(roles.iter().map(|role| format!("role:{role}")))
            .chain(groups.iter().map(|group| format!("group:{group}")))
    }

    /// Whose deeds these are, whichever way he came in: a user, a certificate and an account of one name count as one where
    /// several people are wanted.
    #[must_use]
    pub fn person(&self) -> &str {
        match self {
            Self::User { name, .. }
            | Self::Certificate { name }
            | Self::Account { name, .. }
            | Self::System { name, .. } => name,
            Self::Daemon => "daemon",
        }
    }

    /// Whether it may do everything, whatever rules say.
    #[must_use]
    pub fn is_owner(&self) -> bool {
        matches!(self, Self::User { is_owner: true, .. } | Self::Daemon)
    }

    /// Whether it is the account of a guest and nothing more.
    pub(crate) fn is_guest(&self) -> bool {
        matches!(self, Self::Account { roles, .. } if !roles.is_empty() && roles.iter().all(|role| role == "guest"))
    }

    /// The same with more roles and groups, where it can have such.
    #[must_use]
    pub fn with(mut self, more_roles: &[String], more_groups: &[String]) -> Self {
        match &mut self {
            Self::Account { roles, groups, .. } => {
                roles.extend_from_slice(more_roles);
                groups.extend_from_slice(more_groups);
            }
            Self::System { groups, .. } => groups.extend_from_slice(more_groups),
            Self::User { .. } | Self::Certificate { .. } | Self::Daemon => {}
        }
        self
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { name, .. } => write!(formatter, "user:{name}"),
            Self::Certificate { name } => write!(formatter, "certificate:{name}"),
            Self::Account { name, .. } => write!(formatter, "account:{name}"),
            Self::System { name, .. } => write!(formatter, "system:{name}"),
            Self::Daemon => formatter.write_str("daemon"),
        }
    }
}

impl FromStr for Principal {
    type Err = String;

    /// From its form, without roles and groups.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no principal: `user:…`, `certificate:…`, `account:…`, `system:…` or `daemon`"
            )
        };
        if text == "daemon" {
            return Ok(Self::Daemon);
        }
        let (kind, name) = text.split_once(':').filter(|(_, name)| !name.is_empty()).ok_or_else(wrong)?;
        let name = name.to_owned();
        match kind {
            "user" => Ok(Self::User { is_owner: name == "root", name }),
            "certificate" => Ok(Self::Certificate { name }),
            "account" => Ok(Self::Account { name, roles: Vec::new(), groups: Vec::new() }),
            "system" => Ok(Self::System { name, groups: Vec::new() }),
            _ => Err(wrong()),
        }
    }
}
