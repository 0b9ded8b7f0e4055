//! Owns what `mcrun dns trace` shows: which zone, rule or resolver has the answer to a question, and the answer.

use domain::base::Message;
use domain::base::zonefile_fmt::{DisplayKind, ZonefileFmt as _};
use domain::rdata::AllRecordData;
use effect::{Code, Error, Result};

use super::lookup::{self, Found};
use super::query::{Query, rcode};
use super::service::Service;
use crate::forward::OwnedQuestion;
use crate::name::Name;
use crate::record::RecordType;

/// The steps to the answer, and the answer, a line for each.
///
/// # Errors
/// `MC-Q001` for what is no name.
pub async fn trace(service: &Service, name: &str, rtype: RecordType) -> Result<Vec<String>> {
    let name = Name::absolute(name)?;
    let mut steps = Vec::new();
    let message = message(&name, rtype);
    let query = Query::read(&message)
        .map_err(|_| Error::new(Code::Internal, "a question of our own cannot be read"))?;
    let mut out = Vec::new();
    let snapshot = service.snapshot();
    let answered = lookup::answer(&snapshot, &query, &mut out, usize::from(u16::MAX), true);
    let target = match answered.found {
        Found::NotOurs => Some(name),
        ref found => {
            if let Some(zone) = snapshot.zone_of(&name) {
                steps.push(format!(
                    "zone {} (serial {}) answers {}",
                    zone.apex(),
                    zone.soa.serial,
                    rcode::name(answered.code)
                ));
            }
            steps.extend(records(&out));
            match found {
                Found::Leads(wire) => Some(Name::from_wire(wire)?),
                _ => None,
            }
        }
    };
    let Some(target) = target else { return Ok(steps) };
    steps.push(format!("{target} lies in no zone here"));
    let Some(forwarder) = service.forwarder() else {
        steps.push("nobody is asked for other names: REFUSED (`resolvers` of [dns.forward])".into());
        return Ok(steps);
    };
    let question = OwnedQuestion::new(&format!("{target}."), rtype.0).map_err(|error| {
        Error::new(Code::DnsName, format!("`{target}` cannot be asked for")).because(error)
    })?;
    let answer = forwarder.resolve(question.clone()).await;
    steps.extend(answer.trace().iter().map(ToString::to_string));
    let mut out = Vec::new();
    answer.write(&question.borrow(), std::time::Instant::now(), &mut out);
    steps.push(format!(
        "the answer is {}",
        rcode::name(out.get(3).map_or(rcode::SERVFAIL, |octet| octet & 0x0F))
    ));
    steps.extend(records(&out));
    Ok(steps)
}

fn message(name: &Name, rtype: RecordType) -> Vec<u8> {
    let mut message = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(name.wire());
    message.extend(rtype.number().to_be_bytes());
    message.extend([0, 1]);
    message
}

/// The records of the answer section, as text.
fn records(message: &[u8]) -> Vec<String> {
    let Ok(message) = Message::from_octets(message) else { return Vec::new() };
    let Ok(answers) = message.answer() else { return Vec::new() };
    answers
        .filter_map(Result::ok)
        .filter_map(|record| record.to_any_record::<AllRecordData<_, _>>().ok())
        .map(|record| format!("  {}", record.display_zonefile(DisplayKind::Simple)))
        .collect()
}
