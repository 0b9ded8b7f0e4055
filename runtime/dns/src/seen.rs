//! Owns waiting until the servers of a driver answer with a value, for proofs that others look for there.

use std::time::Duration;

use effect::{Code, Error, Result};
use futures_util::future::join_all;

use crate::driver::Driver;
use crate::forward::{OwnedQuestion, Single, Transport, Upstream};
use crate::name::Name;
use crate::record::{RecordType, Value};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Waits until every server of `driver` has `value` among what `name` has of `rtype`. Where the driver knows of no servers
/// there is nobody to wait for.
///
/// # Errors
/// `MC-Q013` naming those that do not have it `within` that time.
pub async fn seen(
    driver: &dyn Driver,
    name: &Name,
    rtype: RecordType,
    value: &Value,
    within: Duration,
) -> Result<()> {
    let question = OwnedQuestion::new(&format!("{name}."), rtype.0)
        .map_err(|error| Error::new(Code::DnsName, format!("`{name}` cannot be asked for")).because(error))?;
    let plain = |address| Single::new(Upstream { address, transport: Transport::Udp, name: None });
    let servers = driver.servers().into_iter().map(plain).collect::<Result<Vec<_>>>()?;
    let wanted = value.canonical(rtype);
    let missing = async |server: &Single| {
        let said = server.ask(&question, rtype).await;
        let has = |value: &Value| value.canonical(rtype) == wanted;
        match said {
            Ok(said) if said.values.iter().any(has) => None,
            Ok(_) => Some(format!("{}: it does not have it yet", server.upstream())),
            Err(failure) => Some(format!("{}: {failure}", server.upstream())),
        }
    };
    let until = tokio::time::Instant::now() + within;
    let mut pause = FIRST_PAUSE;
    loop {
        let behind: Vec<String> =
            join_all(servers.iter().map(&missing)).await.into_iter().flatten().collect();
        if behind.is_empty() {
            return Ok(());
        }
        if tokio::time::Instant::now() + pause > until {
            let message = format!("a new record of `{name}` is not answered by all of its servers");
            return Err(behind
                .into_iter()
                .fold(Error::new(Code::DnsNotYet, message).retryable(), Error::detail));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
