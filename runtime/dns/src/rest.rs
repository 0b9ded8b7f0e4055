//! The REST calls of mcns: the driver that makes them, and the server that answers them.
