//! Owns what can be typed after `mcrun zones`, `mcrun records` and `mcrun dns`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use dns::RecordType;
use effect::units::Span;

use super::How;

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Zones {
    /// List the zones.
    #[command(visible_alias = "ls")]
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one zone.
    Show {
        /// Its name.
        zone: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make sure that there is a zone, with these name servers.
    Set(Box<ZoneWanted>),
    /// Take a zone away, with all its records.
    #[command(visible_alias = "remove")]
    Rm {
        /// Its name.
        zone: String,
        #[command(flatten)]
        how: How,
    },
    /// Make a zone what a zone file says, in one change. The zone is made where it is not there.
    Import {
        /// Its name.
        zone: String,
        /// The zone file.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Leave records that the file does not have.
        #[arg(long)]
        merge: bool,
        #[command(flatten)]
        how: How,
    },
    /// Print a zone as a zone file that other servers read.
    Export {
        /// Its name.
        zone: String,
    },
}

/// A zone that is wanted.
#[derive(Debug, Clone, Args)]
pub(crate) struct ZoneWanted {
    /// Its name.
    pub(crate) zone: String,
    /// A name server of its own, relative to it or whole with a dot at its end; `ns` unless given. Several are possible.
    #[arg(long = "nameserver", value_name = "NAME")]
    pub(crate) nameservers: Vec<String>,
    /// The mail address of who is responsible.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin: Option<String>,
    /// How long others may keep the names of the name servers.
    #[arg(long, value_name = "DURATION")]
    pub(crate) ttl: Option<Span>,
    /// For how long it is believed that there is no such record.
    #[arg(long, value_name = "DURATION")]
    pub(crate) minimum: Option<Span>,
    #[command(flatten)]
    pub(crate) how: How,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Records {
    /// List the records of a zone.
    #[command(visible_alias = "ls")]
    List {
        /// The zone.
        zone: String,
        /// Only those of this name; `@` is the zone itself.
        #[arg(long)]
        name: Option<String>,
        /// Only those of this type.
        #[arg(long = "type", value_name = "TYPE")]
        rtype: Option<RecordType>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what a name has of a type.
    Show {
        /// The zone.
        zone: String,
        /// The name within it; `@` is the zone itself.
        name: String,
        /// The type.
        #[arg(value_name = "TYPE")]
        rtype: RecordType,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make sure that a name has exactly these values of a type.
    Set(Box<RecordsWanted>),
    /// Take everything away that a name has of a type.
    #[command(visible_alias = "remove")]
    Rm {
        /// The zone.
        zone: String,
        /// The name within it; `@` is the zone itself.
        name: String,
        /// The type.
        #[arg(value_name = "TYPE")]
        rtype: RecordType,
        #[command(flatten)]
        how: How,
    },
}

/// Records that are wanted.
#[derive(Debug, Clone, Args)]
pub(crate) struct RecordsWanted {
    /// The zone.
    pub(crate) zone: String,
    /// The name within it; `@` is the zone itself, `*` stands for names that are not there.
    pub(crate) name: String,
    /// The type: A, AAAA, CNAME, MX, TXT, or TYPE65280 for one without a name.
    #[arg(value_name = "TYPE")]
    pub(crate) rtype: RecordType,
    /// Every value that it has afterwards.
    #[arg(required = true)]
    pub(crate) values: Vec<String>,
    /// How long others may keep it; 5m unless given.
    #[arg(long, value_name = "DURATION")]
    pub(crate) ttl: Option<Span>,
    #[command(flatten)]
    pub(crate) how: How,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Dns {
    /// Show whether the name server answers, where, and for which zones.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Tell which zone, rule or resolver has the answer to a question, step by step.
    Trace {
        /// The name.
        name: String,
        /// The type.
        #[arg(value_name = "TYPE", default_value = "A")]
        rtype: RecordType,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the figures that Prometheus gets.
    Metrics,
    /// Forget what others answered: the next question for each name is asked anew.
    Flush,
    /// End the name server. `mcrun serve` starts it again while it is there.
    Stop,
}
