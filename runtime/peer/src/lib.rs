//! Questions to other programs over HTTP/1.1, for every driver that leads to one, and calls between programs of mcrun.
//!
//! Owns whom TLS trusts, how long an answer may take and how large it may be, and the error that says why there is none.
//! Leaves to the drivers what answers mean, and what is asked again.

pub mod calls;
mod client;
mod connect;
mod failure;
mod secret;
mod tls;

pub use client::{Answer, Client, Limits, Question, is_here};
pub use failure::{Failure, Kind, host, printable};
pub use secret::Secrets;
pub use tls::certificates;
