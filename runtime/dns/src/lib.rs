//! The primitive of names: the trait of its drivers, the embedded server, and the ways to others.
//!
//! Owns zones and their records, how they are looked up and forwarded, and the record of them. Leaves binding sockets to
//! the edge.

pub mod forward;
