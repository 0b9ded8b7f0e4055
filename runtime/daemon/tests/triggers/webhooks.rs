//! Webhooks behind their real listener, signed by Python's hmac and by openssl, forged and repeated.

mod forgeries;
mod formats;
mod stage;
