//! The whole program, from the outside.

mod harness;
mod main_job;
