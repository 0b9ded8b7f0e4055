//! Services with host names, deployed and rolled out while they are visited: nobody notices, whatever fails or dies on the
//! way, and what is taken away leaves nothing.

mod failing;
mod killed;
mod place;
mod removed;
mod under_load;
