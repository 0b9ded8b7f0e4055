//! The primitive of routes: the trait of its drivers, the embedded proxy, and the ways to others.
//!
//! Owns what a route says, how requests find their way by it, and the record of it. Leaves binding sockets to the edge.

pub mod caddy;
pub mod driver;
pub mod effects;
pub mod embedded;
pub mod fuzz;
pub mod hops;
pub mod probe;
pub mod proxy;
pub mod remote;
pub mod route;
pub mod settings;

pub use driver::{Certificates, Drained, Driver, Feature, Figures, Material, Standing};
pub use embedded::{Embedded, Gateway};
pub use route::{Hostname, Key, Mode, Route};
pub use settings::{Choice, Settings};
