//! Owns that a certificate which was renewed is shown where a proxy has a copy of it. The edge follows what is recorded;
//! Caddy shows what it was given until it is given another.

use std::path::Path;
use std::sync::Arc;

use effect::Result;
use routes::effects::Means;
use routes::{Choice, Driver, Standing};

use crate::app::App;
use crate::wiring;

/// The routes that show a certificate at a proxy which has a copy of it.
pub(super) struct Copies {
    driver: Arc<dyn Driver>,
    standings: Vec<Standing>,
}

impl Copies {
    /// Those of the certificate `id`. That they cannot be told is no reason not to renew it.
    pub(super) async fn of(app: &App, id: &str) -> Option<Self> {
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

    /// Has the routes show what is recorded now.
    pub(super) async fn refresh(self) {
        for standing in self.standings {
            let key = standing.route.key();
            if let Err(error) = refresh(&*self.driver, &standing).await {
                tracing::warn!(route = %key, %error, "a route does not show its renewed certificate yet");
            }
        }
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
