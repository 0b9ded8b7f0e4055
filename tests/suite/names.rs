//! Names as an operator has them: zones and records by scripts and by hand, answered by an edge that outlives everything
//! else of mcrun.

pub(crate) mod ask;
mod awkward;
mod drivers;
mod edge;
mod handover;
mod messages;
mod needs;
mod peers;
pub(crate) mod place;
mod ports;
mod scripts;
