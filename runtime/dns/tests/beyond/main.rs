//! What the server answers beyond plain questions, to the programs that people really ask with: nsupdate, dig, kdig, and
//! BIND and Knot as secondaries.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod bench;
mod clients;
mod differential;
mod program;
mod secondaries;
