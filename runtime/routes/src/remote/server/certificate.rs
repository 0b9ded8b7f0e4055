//! Owns which certificate a route of a caller shows: one of this side, which bears its name, or one that is got for it.

use async_trait::async_trait;
use effect::{Code, Error, Result};

use super::Server;
use crate::driver::Standing;
use crate::remote::rules::Grant;
use crate::route::{Hostname, Route};

/// The id that stands for a certificate which the proxy's side gets for the host name itself.
pub const AUTO: &str = "auto";

/// Where the proxy's side has certificates from: whoever puts the rooms together fills it in.
#[async_trait]
pub trait Issuer: Send + Sync {
    /// Under which id it gets the one for `hostname`; always the same.
    fn id(&self, hostname: &Hostname) -> String;

    /// The names that the certificate with this id bears; none where there is none.
    ///
    /// # Errors
    /// Where that cannot be read.
    async fn names(&self, id: &str) -> Result<Option<Vec<String>>>;

    /// Gets the one for the host name of `route`, under its id.
    ///
    /// # Errors
    /// Where no authority issues it.
    async fn obtain(&self, route: &Route) -> Result<()>;
}

/// Whether one of `names` stands for `hostname` (RFC 6125, section 6.4.3).
fn bears(names: &[String], hostname: &Hostname) -> bool {
    let host = hostname.as_str();
    let parent = host.split_once('.').map(|(_, parent)| parent);
    names.iter().any(|name| {
        name.eq_ignore_ascii_case(host)
            || name.strip_prefix("*.").is_some_and(|suffix| parent == Some(suffix))
    })
}

impl Server {
    /// The id that the driver is given. One that is not got yet is only got where it is for good.
    pub(super) async fn certificate(
        &self,
        grant: &Grant<'_>,
        route: &Route,
        is_for_good: bool,
    ) -> Result<Option<String>> {
        match (route.cert.as_deref(), &self.0.issuer) {
            (None, _) => Ok(None),
            (Some(AUTO), None) => {
                Err(Error::new(Code::Unsupported, "no certificates are got here for `auto`"))
            }
            (Some(AUTO), Some(issuer)) => {
                let hostname = &route.hostname;
                if hostname.is_any() {
                    let message = "`cert` is `auto`, and `*` is no name that a certificate bears";
                    return Err(Error::new(Code::RouteTerms, message));
                }
                let id = issuer.id(hostname);
                let stands = issuer.names(&id).await?.is_some_and(|names| bears(&names, hostname));
                match (stands, is_for_good) {
                    (true, _) => Ok(Some(id)),
                    (false, true) => {
                        issuer.obtain(route).await?;
                        Ok(Some(id))
                    }
                    (false, false) => Ok(None),
                }
            }
            (Some(id), None) => Ok(Some(id.to_owned())),
            (Some(id), Some(issuer)) => {
                if id == issuer.id(&route.hostname) {
                    let message = format!("the certificate `{id}` is the one that `auto` stands for");
                    return Err(Error::new(Code::RouteTerms, message).hint("write `cert = \"auto\"`"));
                }
                let names = issuer.names(id).await?.ok_or_else(|| {
                    Error::new(
                        Code::CertificateUnknown,
                        format!("there is no certificate `{id}` on the proxy's side"),
                    )
                    .hint("`cert = \"auto\"` has that side get one for the host name")
                })?;
                grant.check_names(route, id, &names)?;
                Ok(Some(id.to_owned()))
            }
        }
    }

    /// A route as callers see it: what was got for `auto` is `auto`.
    pub(super) fn shown(&self, mut standing: Standing) -> Standing {
        let route = &mut standing.route;
        let got = self.0.issuer.as_ref().map(|issuer| issuer.id(&route.hostname));
        if got.is_some() && route.cert == got {
            route.cert = Some(AUTO.into());
        }
        standing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let names = ["*.example.net".to_owned(), "a.example.org".to_owned()];
        let bears = |host: &str| bears(&names, &host.parse().unwrap());
        assert!(bears("mcq.example.net") && bears("a.example.org") && bears("*.example.net"));
        assert!(!bears("x.mcq.example.net") && !bears("example.net") && !bears("b.example.org"));
    }
}
