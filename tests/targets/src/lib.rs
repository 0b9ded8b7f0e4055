//! What fuzzing calls: one function for each thing that takes in bytes which somebody else has written. Each takes any bytes
//! and panics where something panics, hangs or is taken for mcrun's own mistake. `make fuzz` drives them guided by coverage;
//! the suite replays the seeds, and what is made of them by chance.
#![expect(clippy::unwrap_used, reason = "a target that cannot go on has found something")]

mod archives;
mod callbacks;
mod certificates;
mod diffs;
mod heads;
mod names;
mod passkeys;
mod policies;
mod pure;
mod routes;
mod rows;
mod sso;
mod tokens;

pub use self::routes::{client_hello, proxy_header};
pub use archives::archive;
pub use callbacks::{callback, id_token};
pub use certificates::{acme_request, csr};
pub use diffs::diff;
pub use heads::http_head;
pub use names::{dns_answer, dns_query, dns_update, dns_zone};
pub use passkeys::passkey;
pub use policies::{access, policy};
pub use pure::pure;
pub use rows::rows;
pub use sso::sso;
pub use tokens::token;

/// A target.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its folder of seeds.
pub const TARGETS: [(&str, Target); 21] = [
    ("access", access),
    ("acme_request", acme_request),
    ("archive", archive),
    ("callback", callback),
    ("client_hello", client_hello),
    ("csr", csr),
    ("diff", diff),
    ("dns_answer", dns_answer),
    ("dns_query", dns_query),
    ("dns_update", dns_update),
    ("dns_zone", dns_zone),
    ("http_head", http_head),
    ("id_token", id_token),
    ("passkey", passkey),
    ("policy", policy),
    ("proxy_header", proxy_header),
    ("pure", pure),
    ("rows", rows),
    ("sso", sso),
    ("token", token),
    ("words", words),
];

/// What a worker writes to its host.
pub fn words(bytes: &[u8]) {
    let frames = script::fuzz::hear(bytes);
    assert!(frames <= bytes.len(), "a frame takes at least its length");
}
