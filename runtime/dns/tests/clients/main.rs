//! The server as other people's clients see it: its real socket loops in this process, with the platform's two zones, asked
//! by dig, kdig, delv, host, dnspython and certbot; over connections that behave well and badly; and with the questions of
//! RFC 8906, which BIND and Knot are asked too.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod bench;
mod certbot;
#[path = "../support/program.rs"]
#[allow(dead_code, reason = "what only other suites use of it")]
mod program;
mod programs;
mod python;
mod rfc8906;
mod slow;
mod streams;
