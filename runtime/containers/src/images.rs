//! The primitive `images`: what an image is called, how an engine gets, makes, names and gives away one, and the
//! effects on them. Leaves what runs in an image to the rest of the crate.

mod api;
pub(crate) mod archive;
mod context;
pub mod effects;
pub mod engine;
mod ignore;
pub mod reference;
mod registry;
mod retry;
mod stream;
mod trust;

pub use api::Upload;
pub use engine::{Held, Images, Login};
pub use reference::Reference;
pub use retry::Jitter;

pub(crate) use api::{Api, Transport};
