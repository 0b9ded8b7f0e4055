//! Real servers as upstreams.
