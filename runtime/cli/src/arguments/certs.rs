//! Owns what can be typed after `mcrun certs`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use effect::units::Span;

use super::How;

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Certs {
    /// List the certificates of this node.
    List {
        /// Only those that expire within this time, such as 30d.
        #[arg(long, value_name = "DURATION")]
        expiring_within: Option<Span>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one certificate.
    Show {
        /// What it is called.
        id: String,
        /// Print the chain in PEM instead.
        #[arg(long, conflicts_with = "json")]
        pem: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make sure that there is a certificate for these names, and write it where it is wanted.
    Ensure(Box<Wanted>),
    /// Renew a certificate now, with a new key.
    Renew {
        /// What it is called.
        id: String,
        #[command(flatten)]
        how: How,
    },
    /// Revoke a certificate. It cannot be undone.
    Revoke {
        /// What it is called.
        id: String,
        /// The serial number of an earlier certificate of that name.
        #[arg(long)]
        serial: Option<String>,
        /// Why.
        #[arg(long, default_value = "unspecified")]
        reason: Why,
        #[command(flatten)]
        how: How,
    },
    /// Forget a certificate with its key, and take its files away. It is not revoked by that.
    Remove {
        /// What it is called.
        id: String,
        #[command(flatten)]
        how: How,
    },
    /// The authority for SSH.
    #[command(subcommand)]
    Ssh(Ssh),
    /// The ACME server of `mcrun serve`.
    #[command(subcommand)]
    Acme(Acme),
    /// The embedded authority itself.
    #[command(subcommand)]
    Ca(Ca),
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Ssh {
    /// Sign the public key of a user or a host; the certificate is written beside it, as OpenSSH looks for it.
    Sign(Box<SshWanted>),
    /// Revoke a certificate, every certificate with a key id, or a key. It cannot be undone.
    Revoke {
        /// The serial number of a certificate.
        #[arg(long, required_unless_present_any = ["key_id", "key"], conflicts_with_all = ["key_id", "key"])]
        serial: Option<String>,
        /// The key id of certificates.
        #[arg(long, conflicts_with = "key")]
        key_id: Option<String>,
        /// The file with a public key.
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        key: Option<PathBuf>,
        #[command(flatten)]
        how: How,
    },
    /// List what was signed and is valid still.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the public keys of the authority: for `TrustedUserCAKeys` of servers, or for `known_hosts` of clients.
    Authorities {
        /// Whose certificates they sign.
        kind: SshKind,
    },
    /// Write the list of what is revoked, for `RevokedKeys` of servers.
    Krl {
        /// The file.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Public keys, one a line, instead of OpenSSH's binary form.
        #[arg(long)]
        plain: bool,
    },
    /// Make a new key. Peers should trust it at once; it signs after a while, and the old one stays trusted meanwhile.
    Rotate {
        /// Whose certificates it signs.
        kind: SshKind,
        /// How long peers have to learn of it.
        #[arg(long, value_name = "DURATION", default_value = "7d")]
        announce: Span,
    },
}

/// An SSH certificate that is wanted.
#[derive(Debug, Clone, Args)]
pub(crate) struct SshWanted {
    /// Whom it is for.
    pub(crate) kind: SshKind,
    /// The file with the public key.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) key: PathBuf,
    /// The accounts or roles of a user, the names of a host.
    #[arg(required = true)]
    pub(crate) principals: Vec<String>,
    /// How long it lives, such as 16h.
    #[arg(long, value_name = "DURATION")]
    pub(crate) lifetime: Option<Span>,
    /// What servers write into their logs; the first principal unless given.
    #[arg(long)]
    pub(crate) key_id: Option<String>,
    /// The service that a host belongs to.
    #[arg(long)]
    pub(crate) service: Option<String>,
    /// The only command that a user can run.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) force_command: Option<String>,
    /// An address or network that a user can come from.
    #[arg(long, value_name = "NETWORK")]
    pub(crate) source_address: Vec<String>,
    /// Write it here instead of beside the key.
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SshKind {
    User,
    Host,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Acme {
    /// Make a key with which clients register for a service. It is shown this once.
    AddKey {
        /// The service, whose names its accounts may have.
        service: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the keys with which clients register.
    Keys {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take a key away, and stop the accounts that came with it.
    RemoveKey {
        /// The key's id.
        id: String,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Ca {
    /// Show roots, intermediates and what is to be done about them.
    Show {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make the authority. The first certificate makes it too, with a passphrase that is kept beside it.
    Init {
        #[command(flatten)]
        passphrase: Passphrase,
    },
    /// Print the roots that peers should trust, in PEM.
    Bundle,
    /// Print the list of revoked certificates, in PEM.
    Crl {
        /// The intermediate; the one that signs unless given.
        intermediate: Option<String>,
    },
    /// Put a new intermediate in the place of the one that signs; what the old one signed stays valid.
    Rotate {
        /// A new root as well; the old one certifies it, and both are trusted.
        #[arg(long)]
        root: bool,
        #[command(flatten)]
        passphrase: Passphrase,
        /// The file with the passphrase of the new root; one is made and kept unless given.
        #[arg(long, value_name = "FILE", requires = "root", value_hint = ValueHint::FilePath)]
        new_passphrase_file: Option<PathBuf>,
        /// Only show what would be done.
        #[arg(long)]
        plan: bool,
    },
    /// Print the passphrase of the root for the last time, and take it off this machine.
    TakePassphrase,
    /// Write the whole authority to a file, sealed with a passphrase.
    Export {
        /// The file.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        #[command(flatten)]
        passphrase: Passphrase,
        /// Only show what would be done.
        #[arg(long)]
        plan: bool,
    },
    /// Take over an authority that was exported elsewhere, where there is none.
    Import {
        /// The file.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        #[command(flatten)]
        passphrase: Passphrase,
        /// Only show what would be done.
        #[arg(long)]
        plan: bool,
    },
}

/// Where a passphrase comes from.
#[derive(Debug, Clone, Args)]
pub(crate) struct Passphrase {
    /// The file with the passphrase; asked for on the terminal unless given or kept.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// A certificate that is wanted.
#[derive(Debug, Clone, Args)]
pub(crate) struct Wanted {
    /// The host names and addresses, the most important one first.
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
    /// What it is called; its first name unless given.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// What it may be used for: server, client, both, public, or a profile of mcrun.toml.
    #[arg(long, default_value = "server")]
    pub(crate) profile: String,
    /// The kind of its key.
    #[arg(long, default_value = "p256")]
    pub(crate) key_type: KeyKind,
    /// How long it lives, such as 90d.
    #[arg(long, value_name = "DURATION")]
    pub(crate) lifetime: Option<Span>,
    /// The service that it is for.
    #[arg(long)]
    pub(crate) service: Option<String>,
    #[command(flatten)]
    pub(crate) files: Files,
    #[command(flatten)]
    pub(crate) how: How,
}

/// Where a certificate is written.
#[derive(Debug, Clone, Args)]
pub(crate) struct Files {
    /// Write the chain here.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) cert: Option<PathBuf>,
    /// Write the key here.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) key: Option<PathBuf>,
    /// Write chain and key here, in one file.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) pair: Option<PathBuf>,
    /// Write the roots that peers trust here.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) ca: Option<PathBuf>,
    /// User and group of these files, such as 850:850.
    #[arg(long, value_name = "USER[:GROUP]")]
    pub(crate) owner: Option<String>,
    /// Their permission bits.
    #[arg(long, value_name = "MODE")]
    pub(crate) mode: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyKind {
    P256,
    P384,
    Ed25519,
    Rsa2048,
    Rsa3072,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Why {
    Unspecified,
    KeyCompromise,
    AffiliationChanged,
    Superseded,
    CessationOfOperation,
    PrivilegeWithdrawn,
}

impl KeyKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Ed25519 => "ed25519",
            Self::Rsa2048 => "rsa2048",
            Self::Rsa3072 => "rsa3072",
        }
    }
}

impl Why {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key_compromise",
            Self::AffiliationChanged => "affiliation_changed",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation_of_operation",
            Self::PrivilegeWithdrawn => "privilege_withdrawn",
        }
    }
}
