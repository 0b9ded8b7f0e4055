//! Requests as clients see them: routes that the edge serves, while everything else of mcrun changes, dies and comes back.

mod afar;
pub(crate) mod backend;
mod handover;
mod live;
pub(crate) mod load;
mod lost;
pub(crate) mod place;
