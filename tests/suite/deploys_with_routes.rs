//! Services with host names, deployed and rolled out while they are visited: nobody notices, whatever fails or dies on the
//! way, and what is taken away leaves nothing.

mod failing;
mod full_disk;
mod killed;
mod moments;
mod place;
mod removed;
mod under_load;
