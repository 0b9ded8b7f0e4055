//! Owns that the process answers the calls of its API, at its socket and where mcrun.toml has them answered, and whom
//! tokens stand for that they present.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use daemon::api::{Access, Api, Bearer, Doors, Reload, Rooms, Tokens};
use daemon::feed::Feed;
use daemon::playbooks::Table;
use effect::{Principal, Result, Timestamp};
use jiff::tz::TimeZone;
use tokio::sync::watch;

use super::accounts::Kept;
use super::listeners::Listeners;
use crate::app::App;
use crate::execute::desk::Desk;
use crate::{render, wiring};

/// The service that tokens for calls of this daemon are for.
const OWN_SERVICE: &str = "mcrun";

/// Tokens that the issuer made for this daemon, which is the one that mcrun.toml chooses.
struct Known {
    driver: Arc<dyn mcias::Driver>,
    own: mcias::Name,
}

#[async_trait]
impl Tokens for Known {
    async fn bearer(&self, token: &str) -> Result<Option<Bearer>> {
        let Ok(holder) = self.driver.validate(token, &self.own).await? else { return Ok(None) };
        let groups = holder.groups.iter().map(ToString::to_string).collect();
        let name = holder.account.to_string();
        let principal = match holder.kind {
            mcias::Kind::Human => {
                let roles = holder.roles.iter().map(|role| role.as_str().to_owned()).collect();
                Principal::Account { name, roles, groups }
            }
            mcias::Kind::System => Principal::System { name, groups },
        };
        Ok(Some(Bearer { principal, until: Timestamp(holder.expires_at) }))
    }
}

/// The policy of access, as it is whenever it is asked.
pub(super) fn access(app: &App) -> Access {
    let live = app.live.subscribe();
    Arc::new(move || live.borrow().access())
}

/// Answers calls.
pub(super) async fn serve(
    app: &App,
    desk: &Desk,
    playbooks: watch::Receiver<Arc<Table>>,
    reload: Arc<dyn Reload>,
    listeners: &mut Listeners,
) -> Result<()> {
    let settings = &app.config.daemon.api;
    // No script lies in this folder, so nothing is kept from secrets.
    let secrets = wiring::secrets(app, Path::new("/dev/null"))?;
    let driver = wiring::issuer(app, &secrets)?;
    let accounts =
        Kept { driver: driver.clone(), settings: app.config.mcias.clone(), clock: app.clock.clone() };
    let api = Api::new(Rooms {
        runs: Arc::new(desk.clone()),
        journal: app.journal.clone(),
        feed: Feed::start(app.journal.clone(), listeners.shutdown()),
        playbooks,
        zone: TimeZone::system(),
        access: access(app),
        accounts: Some(Arc::new(accounts)),
        tokens: Some(Arc::new(Known { driver, own: OWN_SERVICE.parse()? })),
        reload: Some(reload),
        node: app.node.clone(),
        started: app.clock.now(),
    });
    let handed = listeners.handed.unix("api")?;
    let afar = listeners.handed.tcp("api-tls", settings.listen)?;
    let doors = Doors::open(settings, &app.state, (handed, afar), || wiring::authority(app)).await?;
    render::note(format_args!("calls: {}", doors.places().join("; ")));
    let shutdown = listeners.shutdown();
    doors.serve(&api, &mut listeners.tasks, &shutdown);
    Ok(())
}
