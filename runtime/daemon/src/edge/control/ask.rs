//! Owns what is asked of an edge, and what it answers.

use std::net::SocketAddr;

use dns::RecordType;
use effect::Error;
use routes::route::Backend;
use routes::{Drained, Key};
use serde::{Deserialize, Serialize};

use super::super::sockets::Place;

/// What is asked of an edge.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// How it stands.
    Standing,
    /// Its figures, in the text format of Prometheus.
    Metrics,
    /// How a question is answered, step by step.
    Trace {
        /// The name.
        name: String,
        /// The type.
        rtype: RecordType,
    },
    /// To forget what others answered.
    Flush,
    /// Whether it could serve a route.
    RouteAdmit {
        /// The route.
        route: Box<routes::Standing>,
    },
    /// To have served what is recorded, and nothing of older versions any more.
    RouteSettle {
        /// Under which key.
        key: Key,
        /// What is recorded there.
        route: Option<Box<routes::Standing>>,
        /// How long that may take, in milliseconds.
        within: u64,
    },
    /// To offer a recorded proof for a certificate authority, or to do so no longer.
    RouteProof {
        /// Its id.
        id: String,
        /// Whether it is to be offered.
        is_offered: bool,
    },
    /// To wait until nothing is under way on a route.
    RouteDrain {
        /// The route.
        key: Key,
        /// Only at this back end.
        backend: Option<Backend>,
        /// After how long what is left is cut, in milliseconds.
        within: u64,
    },
    /// The figures of every route.
    RouteFigures,
    /// Its sockets: whoever asks is its successor.
    HandOver,
    /// The successor answers now.
    Relieve,
    /// To end.
    Stop,
}

/// What an edge answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// How it stands.
    Standing(Standing),
    /// Text to be shown.
    Text {
        /// The text.
        text: String,
    },
    /// Lines to be shown, one for each step.
    Steps {
        /// The steps.
        steps: Vec<String>,
    },
    /// The sockets, which come with the message in this order.
    Sockets {
        /// Which they are.
        places: Vec<Place>,
    },
    /// How draining ended; none where there is no such route.
    Drained {
        /// How it ended.
        drained: Option<Drained>,
    },
    /// The figures of routes.
    Figures {
        /// As JSON: a list of `routes::Figures`.
        figures: String,
    },
    /// It is done.
    Done,
    /// It cannot be done.
    Failed {
        /// Why.
        error: Error,
    },
}

/// How an edge stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its process.
    pub process: u32,
    /// Its version.
    pub version: String,
    /// What tells its settings from others.
    pub settings: String,
    /// Where it answers questions for names.
    pub listen: Vec<SocketAddr>,
    /// The zones that it answers for, with serial and number of records.
    pub zones: Vec<(String, u32, usize)>,
    /// Where it serves routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<SocketAddr>,
}
