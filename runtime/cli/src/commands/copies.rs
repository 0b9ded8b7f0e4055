//! Owns that a certificate which was renewed is shown where a proxy has a copy of it. The edge follows what is recorded;
//! Caddy shows what it was given until it is given another.

use std::path::Path;
use std::sync::Arc;

use effect::{Error, Result};
use routes::effects::Means;
use routes::{Choice, Driver, Key, Standing};

use crate::app::App;
use crate::wiring;

/// The routes that show a certificate at a proxy which has a copy of it.
pub(in crate::commands) struct Copies {
    driver: Arc<dyn Driver>,
    standings: Vec<Standing>,
}

impl Copies {
    /// Those of the certificate `id`. That they cannot be told is no reason not to renew it.
    pub(in crate::commands) async fn of(app: &App, id: &str) -> Option<Self> {
        if app.config.drivers.routes != Choice::Caddy {
            return None;
        }
        match find(app, id).await {
            Ok(copies) => Some(copies),
            Err(error) => {
                tracing::warn!(id, %error, "it is not known which routes show a certificate");
                None
            }
        }
    }

    /// Has the routes show what is recorded now. Those that do not yet are told in the log.
    pub(super) async fn refresh(self) {
        for (key, error) in self.show().await {
            tracing::warn!(route = %key, %error, "a route does not show its renewed certificate yet");
        }
    }

    /// The same for an operator, who is told of the first one that does not.
    pub(in crate::commands) async fn refresh_by_hand(self) -> Result<()> {
        let Some((key, error)) = self.show().await.into_iter().next() else { return Ok(()) };
        let message = format!("the certificate is renewed, and the route `{key}` still shows the one before");
        Err(Error::new(error.code, message)
            .because(error)
            .hint(format!("`mcrun certs renew` again, or `mcrun routes show {key}` to see what is there")))
    }

    /// Has each route show it; those where that failed, and why.
    async fn show(self) -> Vec<(Key, Error)> {
        let mut failed = Vec::new();
        for standing in self.standings {
            if let Err(error) = refresh(&*self.driver, &standing).await {
                failed.push((standing.route.key(), error));
            }
        }
        failed
    }
}

async fn find(app: &App, id: &str) -> Result<Copies> {
    // No script lies in this folder, so nothing is kept from secrets.
    let secrets = wiring::secrets(app, Path::new("/dev/null"))?;
    let means = || Means {
        journal: app.journal.clone(),
        node: app.node.clone(),
        sealer: app.sealer.clone(),
        secrets,
        clock: app.clock.clone(),
    };
    let driver = wiring::proxies(&app.config, &app.state).driver_with(means)?;
    let mut standings = driver.list().await?;
    standings.retain(|standing| standing.route.cert.as_deref() == Some(id));
    Ok(Copies { driver, standings })
}

/// A route that somebody changed meanwhile is left to them.
async fn refresh(driver: &dyn Driver, standing: &Standing) -> Result<()> {
    let mut stale = standing.clone();
    stale.route.cert = None;
    if driver.get(&standing.route.key()).await? == Some(stale) { driver.put(standing).await } else { Ok(()) }
}
