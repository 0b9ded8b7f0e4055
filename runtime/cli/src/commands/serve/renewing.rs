//! Owns that certificates are renewed by runs, so that each renewal is journaled, shown and resumable like any other run.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use certs::Certificate;
use certs::effects::Means;
use daemon::renewals::Renewer;
use effect::policy::Grants;
use effect::{Result, Timestamp};

use super::own::Own;
use crate::app::App;
use crate::commands::copies::Copies;
use crate::execute::desk::Desk;
use crate::wiring;

/// Renews by runs.
pub(super) struct Renewals<'a> {
    app: &'a App,
    desk: Desk,
    certificates: Arc<certs::effects::World>,
}

impl<'a> Renewals<'a> {
    pub(super) fn new(app: &'a App, desk: Desk) -> Result<Self> {
        let certificates = wiring::certificates(&app.config, Path::new("/"), &app.state)?;
        Ok(Self { app, desk, certificates })
    }
}

#[async_trait(?Send)]
impl Renewer for Renewals<'_> {
    async fn window(&self, certificate: &Certificate) -> Result<Option<(Timestamp, Timestamp)>> {
        let app = self.app;
        // No script lies in this folder, so nothing is kept from secrets.
        let secrets = wiring::secrets(app, Path::new("/dev/null"))?;
        let means = || Means {
            journal: app.journal.clone(),
            node: app.node.clone(),
            sealer: app.sealer.clone(),
            secrets,
            clock: app.clock.clone(),
        };
        self.certificates.renewal_window(means, certificate).await
    }

    async fn renew(&self, id: &str) -> Result<()> {
        let copies = Copies::of(self.app, id).await;
        let own = Own {
            name: &format!("renew {id}"),
            source: "certs.renew { id = args[1] }\n",
            args: vec![id.to_owned()],
            // The files that it is written to were granted to the run that placed it there.
            grants: Grants { allow: vec!["certs".into()], ..Grants::default() },
        };
        own.execute(self.app, &self.desk).await?;
        if let Some(copies) = copies {
            copies.refresh().await;
        }
        Ok(())
    }
}
