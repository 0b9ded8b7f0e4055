//! Owns what can be typed after `mcrun routes`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use effect::units::Span;
use routes::route::Backend;
use routes::{Hostname, Key};

use super::How;

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Routes {
    /// List the routes.
    #[command(visible_alias = "ls")]
    List {
        /// Only those of this host name.
        #[arg(long)]
        hostname: Option<Hostname>,
        /// Only those of this service.
        #[arg(long)]
        service: Option<String>,
        /// Only those at this port.
        #[arg(long, value_name = "PORT")]
        listen: Option<u16>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what one route says, and how its back ends stand.
    Show {
        /// Host name, port and path: `mcq.example.net:443/api`.
        #[arg(value_name = "ROUTE")]
        key: Key,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make sure that requests go where this says, on exactly these terms.
    Set(Box<RouteWanted>),
    /// Take a route away, once what runs over it has ended or its time is over.
    #[command(visible_alias = "remove")]
    Rm {
        /// Host name, port and path: `mcq.example.net:443/api`.
        #[arg(value_name = "ROUTE")]
        key: Key,
        #[command(flatten)]
        how: How,
    },
    /// Have new requests of a route wait instead of failing.
    Pause {
        /// Host name, port and path: `mcq.example.net:443/api`.
        #[arg(value_name = "ROUTE")]
        key: Key,
        #[command(flatten)]
        how: How,
    },
    /// Let requests that wait go on.
    Resume {
        /// Host name, port and path: `mcq.example.net:443/api`.
        #[arg(value_name = "ROUTE")]
        key: Key,
        #[command(flatten)]
        how: How,
    },
    /// Wait until nothing is under way on a route, and cut what takes too long.
    Drain {
        /// Host name, port and path: `mcq.example.net:443/api`.
        #[arg(value_name = "ROUTE")]
        key: Key,
        /// Only what goes to this back end.
        #[arg(long, value_name = "ADDRESS")]
        backend: Option<Backend>,
        /// How long it may take; as the route says unless given.
        #[arg(long, value_name = "DURATION")]
        within: Option<Span>,
        #[command(flatten)]
        how: How,
    },
    /// Show what happens on routes: live on a terminal, once elsewhere.
    Top {
        /// Measure once and end, also on a terminal.
        #[arg(long)]
        once: bool,
        /// The seconds between two measurements.
        #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
        every: u64,
        /// Print JSON, once.
        #[arg(long)]
        json: bool,
    },
    /// Print the figures that Prometheus gets.
    Metrics,
}

/// At which layer it is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Bytes, told apart by the name in the ClientHello.
    L4,
    /// Requests; TLS ends here.
    L7,
}

/// A route that is wanted.
#[derive(Debug, Clone, Args)]
pub(crate) struct RouteWanted {
    /// Host name, port and path: `mcq.example.net:443/api`.
    #[arg(value_name = "ROUTE")]
    pub(crate) key: Key,
    /// A back end, `127.0.0.1:8080`. Several are possible.
    #[arg(long = "backend", value_name = "ADDRESS")]
    pub(crate) backends: Vec<Backend>,
    /// The id of the certificate that is shown; plain HTTP unless given.
    #[arg(long, value_name = "ID")]
    pub(crate) cert: Option<String>,
    /// At which layer it is served; l7 unless given.
    #[arg(long)]
    pub(crate) mode: Option<Mode>,
    /// The service that it belongs to.
    #[arg(long)]
    pub(crate) service: Option<String>,
    /// Send clients elsewhere: `https://{host}{path}`.
    #[arg(long, value_name = "URL")]
    pub(crate) redirect: Option<String>,
    /// Answer with a page that says so, instead of from back ends.
    #[arg(long, value_name = "TEXT")]
    pub(crate) maintenance: Option<String>,
    /// A file with the certificates, in PEM, by one of which those of the back ends must be issued: they are spoken to by TLS.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) backend_ca: Option<PathBuf>,
    /// The path by which it is probed whether a back end is well.
    #[arg(long, value_name = "PATH")]
    pub(crate) health: Option<String>,
    /// For everybody: an edge node takes it only for its allowed domains.
    #[arg(long)]
    pub(crate) public: bool,
    /// After how long what still runs over an old version is cut.
    #[arg(long, value_name = "DURATION")]
    pub(crate) drain: Option<Span>,
    /// Any other field of `routes.ensure`, such as `limits.rate=50` or `access.deny=["10.0.0.0/8"]`.
    #[arg(long = "with", value_name = "FIELD=VALUE")]
    pub(crate) with: Vec<String>,
    /// Take it though no back end answers.
    #[arg(long)]
    pub(crate) no_probe: bool,
    #[command(flatten)]
    pub(crate) how: How,
}
