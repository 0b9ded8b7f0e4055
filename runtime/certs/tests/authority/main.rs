//! The embedded authority against what OpenSSL says of its certificates.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod hierarchy;
mod issuing;
mod lints;
mod revoking;
mod support;
