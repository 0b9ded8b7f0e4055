//! A host that performs one `exec.run` of a shell script and waits for it: tests kill it half-way.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use effect::context::Shared;
use effect::policy::Grants;
use effect::{Act, Context, Mode, Overlay, Policy, Sealer};
use journal::{Identity, Journal, RunId, SystemClock, Timestamp};
use system::{SecretStore, ServiceLogs, World};

struct NoLogs;

#[async_trait]
impl ServiceLogs for NoLogs {
    async fn last_lines(&self, _: &str, _: usize) -> Vec<String> {
        Vec::new()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(text)) = (arguments.next().map(PathBuf::from), arguments.next()) else {
        return Ok(ExitCode::from(2));
    };
    let shared = Shared {
        run: RunId::new(Timestamp(1_800_000_000_000), 1),
        node: "rift".into(),
        mode: Mode::Run,
        policy: Policy::new(None, &Grants { allow: vec!["exec".into()], ..Grants::default() })?,
        secrets: Arc::new(SecretStore::new(&BTreeMap::new(), &folder)?),
        sealer: Arc::new(Sealer::ephemeral()),
        journal: Journal::open(&folder.join("state"), Arc::new(SystemClock))?,
        clock: Arc::new(SystemClock),
        root: folder.clone(),
        overlay: Overlay::default(),
    };
    let identity = Identity { scope: String::new(), counter: 1, name: "exec.run".into() };
    let run: system::exec::Run =
        serde_json::from_value(serde_json::json!({ "argv": ["/bin/sh", "-c", text], "check": false }))?;
    let output = run
        .act(&World::new(&folder, Arc::new(NoLogs)), &Context::new(Arc::new(shared), identity), "key")
        .await?;
    Ok(ExitCode::from(u8::try_from(output.code)?))
}
