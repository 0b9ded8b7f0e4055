//! Owns the errors of exchanges with a name server: each names the server, the cause, and what its operator can do.

use std::net::SocketAddr;

use domain::base::iana::{Rcode, TsigRcode};
use effect::{Code, Error};

use super::sign::{Algorithm, Doubt};
use crate::name::Name;

/// Whom an error is about.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) server: SocketAddr,
    pub(super) key: Name,
    pub(super) algorithm: Algorithm,
}

impl Place {
    /// `MC-Q011`: no answer.
    pub(super) fn unavailable(&self, cause: impl std::fmt::Display) -> Error {
        Error::new(Code::DnsUnavailable, format!("the name server {} does not answer", self.server))
            .because(cause)
            .retryable()
    }

    /// `MC-Q010`: the answer was no.
    pub(super) fn refused(&self, what: &str, cause: impl std::fmt::Display) -> Error {
        Error::new(Code::DnsRefused, format!("the name server {} refused {what}", self.server)).because(cause)
    }

    /// `MC-Q012`: something came that is no answer.
    pub(super) fn garbage(&self, cause: impl std::fmt::Display) -> Error {
        let message =
            format!("the name server {} answered with something that was not asked for", self.server);
        Error::new(Code::DnsAnswer, message).because(cause)
    }

    /// `MC-Q004`: the server does not have the zone.
    pub(super) fn no_zone(&self, zone: &Name) -> Error {
        Error::new(Code::DnsZone, format!("the name server {} does not serve the zone `{zone}`", self.server))
            .hint("make the zone at the server itself, and allow the key to update and transfer it")
    }

    /// An answer whose signature is not in order.
    pub(super) fn doubt(&self, what: &str, doubt: &Doubt) -> Error {
        match doubt {
            Doubt::Unsigned => self
                .garbage("it is not signed, as every answer to a signed request is (RFC 8945)")
                .hint("check that the address is that of the server itself, and that it knows the key"),
            Doubt::Wrong(why) => self.garbage(why).hint(format!(
                "compare the secret of the key `{}` on both sides, and their clocks",
                self.key
            )),
            Doubt::Clock(ahead) => self
                .garbage(format!(
                    "its clock and the one of this machine are {} seconds apart: this one is {}",
                    ahead.unsigned_abs(),
                    if *ahead > 0 { "ahead" } else { "behind" }
                ))
                .hint("set the clocks of both machines: a signature holds for five minutes (RFC 8945)"),
            Doubt::Told(TsigRcode::BADKEY) => self
                .refused(what, format!("it does not know the key `{}` for this (BADKEY)", self.key))
                .hint(format!(
                    "the key is called the same on both sides, is of {} there, and may be used for this: in Knot, \
                     `action: [query, transfer, update]`",
                    self.algorithm.as_str()
                )),
            Doubt::Told(TsigRcode::BADSIG) => self
                .refused(what, format!("the secret of the key `{}` is another one there (BADSIG)", self.key))
                .hint("compare the secret, as `tsig-keygen` printed it, on both sides"),
            Doubt::Told(TsigRcode::BADTIME) => self
                .garbage("its clock and the one of this machine are more than five minutes apart (BADTIME)")
                .hint("set the clocks of both machines"),
            Doubt::Told(other) => self.refused(what, format!("it takes no such signature ({other})")),
        }
    }

    /// An answer with a code that says no.
    pub(super) fn code(&self, what: &str, rcode: Rcode) -> Error {
        match rcode {
            Rcode::SERVFAIL => self.unavailable("it failed itself (SERVFAIL): its log says why"),
            Rcode::REFUSED => self.refused(what, "it does not do this for the key (REFUSED)").hint(format!(
                "allow it at the server: in BIND `allow-update {{ key \"{key}\"; }};` and `allow-transfer {{ key \"{key}\"; }};`, \
                 in Knot an acl with `action: [query, transfer, update]`, in PowerDNS the metadata TSIG-ALLOW-DNSUPDATE and \
                 TSIG-ALLOW-AXFR; where that is so its log says why: BIND refuses as well to leave a name server of the zone \
                 without an address",
                key = self.key
            )),
            Rcode::NOTAUTH => self
                .refused(what, "it does not take the signature (NOTAUTH), and does not say why")
                .hint(format!(
                    "compare the name, secret and algorithm of the key `{}` on both sides, and their clocks",
                    self.key
                )),
            Rcode::NOTIMP => self
                .refused(what, "it does not do such things at all (NOTIMP)")
                .hint("dynamic updates are switched on there: in PowerDNS `dnsupdate=yes`"),
            Rcode::FORMERR => self.garbage("it could not read the request (FORMERR)").hint(
                "PowerDNS says so of types that it does not know: `every_type = false` has them refused in the plan",
            ),
            Rcode::NXRRSET | Rcode::NXDOMAIN | Rcode::YXDOMAIN | Rcode::YXRRSET => {
                self.refused(what, format!("the records were changed meanwhile ({rcode})")).retryable()
            }
            other => self.garbage(format!("it answered with {other}")),
        }
    }
}
