//! Owns how the embedded authority stands behind the ACME server: policy, signing, revoking, for accounts as for scripts.

use std::sync::Arc;

use async_trait::async_trait;
use effect::Result;
use rustls::pki_types::CertificateDer;

use super::{Authority, Request};
use crate::acme::server::{SignOrder, Signer, Standing};
use crate::driver::Reason;
use crate::names::Names;
use crate::policy::{Applicant, Policy};
use crate::profile::Profile;

/// The authority with the policy and the profile for whoever comes by ACME.
pub struct ForAcme {
    authority: Arc<Authority>,
    policy: Policy,
    profile: Profile,
}

impl ForAcme {
    /// Signs with `authority` what `policy` admits, in `profile`.
    #[must_use]
    pub fn new(authority: Arc<Authority>, policy: Policy, profile: Profile) -> Self {
        Self { authority, policy, profile }
    }
}

#[async_trait]
impl Signer for ForAcme {
    fn admit(&self, names: &Names, service: Option<&str>) -> Result<()> {
        // Whoever proves a wildcard holds the zone: that is the grant.
        self.policy.admit(names, &self.profile, Applicant { service, wildcards: true })
    }

    async fn sign(&self, order: &SignOrder<'_>) -> Result<Vec<CertificateDer<'static>>> {
        self.admit(order.names, order.service)?;
        let issued = self
            .authority
            .sign(&Request {
                token: order.token,
                names: order.names,
                profile: &self.profile,
                public: order.public,
                lifetime: order.lifetime.map(|lifetime| lifetime.min(self.profile.longest)),
                service: order.service,
            })
            .await?;
        Ok(issued.chain)
    }

    async fn standing(&self, serial: &str) -> Result<Option<Standing>> {
        let Some(issuance) = self.authority.issuance(serial).await? else { return Ok(None) };
        Ok(Some(Standing {
            chain: self.authority.chain_of(&issuance).await?,
            revoked: issuance.revoked.is_some(),
            token: issuance.token,
            window: None,
        }))
    }

    async fn revoke(&self, serial: &str, reason: Reason) -> Result<()> {
        self.authority.revoke_serial(serial, reason).await
    }
}
