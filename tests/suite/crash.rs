//! The host dies wherever the journal or a driver is at work, and its runs are resumed: nothing that was acknowledged is
//! lost, nothing that was completed is repeated.

mod carry;
mod device;
mod ledger;
mod matrix;
mod power;
mod program;
mod proof;
mod random;
mod scenes;
