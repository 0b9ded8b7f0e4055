//! Owns `certs acme`: who may register with the ACME server.

use certs::acme::server::eab;
use effect::Result;
use serde_json::json;

use crate::app::App;
use crate::arguments::certs::Acme;
use crate::exit::Exit;
use crate::render::{self, Table};

pub(super) async fn acme(app: &App, command: Acme) -> Result<Exit> {
    match command {
        Acme::AddKey { service, json } => {
            let made = eab::add(&app.journal, &app.sealer, &app.node, &service).await?;
            if json {
                render::json(&json!({ "service": service, "id": made.id, "key": made.key.as_str() }));
                return Ok(Exit::Done);
            }
            render::out(format_args!("id   {}", made.id));
            render::out(format_args!("key  {}", made.key.as_str()));
            render::note(
                "certbot takes them as --eab-kid and --eab-hmac-key, lego as --eab --kid and --hmac; it is shown this once",
            );
        }
        Acme::Keys { json } => {
            let keys = eab::list(&app.journal, &app.node).await?;
            if json {
                render::json(&keys);
                return Ok(Exit::Done);
            }
            let mut table = Table::new(&["key", "service", "made"]);
            for key in keys {
                table.row([key.id, key.service, key.made.to_string()]);
            }
            table.print();
        }
        Acme::RemoveKey { id } => {
            eab::remove(&app.journal, &app.node, &id).await?;
            render::note(format_args!("key {id} is gone, and its accounts can do nothing more"));
        }
    }
    Ok(Exit::Done)
}
