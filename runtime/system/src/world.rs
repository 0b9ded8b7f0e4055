//! Owns what the effects of this crate need of their surroundings.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use effect::access::Policy;

use crate::health::ServiceLogs;

/// The surroundings of one run's effects.
pub struct World {
    root: PathBuf,
    services: Arc<dyn ServiceLogs>,
    address: Option<IpAddr>,
    access: Arc<Policy>,
}

impl World {
    /// The world of a script in the folder `root`; `services` knows the log lines of services.
    #[must_use]
    pub fn new(root: &Path, services: Arc<dyn ServiceLogs>) -> Arc<Self> {
        Self::at(root, services, None, Arc::default())
    }

    /// The same on a machine that others reach at `address`, and where `access` says who may do what.
    #[must_use]
    pub fn at(
        root: &Path,
        services: Arc<dyn ServiceLogs>,
        address: Option<IpAddr>,
        access: Arc<Policy>,
    ) -> Arc<Self> {
        // Links above the script's folder are the operator's; only those that a script names are refused.
        let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        Arc::new(Self { root, services, address, access })
    }

    /// The script's folder, against which relative paths are resolved.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Whether what a run asks for takes somebody else than whoever started it.
    pub(crate) fn wants_four_eyes(&self, object: &str) -> bool {
        self.access.wants_four_eyes(object)
    }

    pub(crate) fn services(&self) -> &dyn ServiceLogs {
        &*self.services
    }
}
