//! Owns questions to one server that somebody names: nothing is kept, nobody else is asked.

use std::sync::Arc;

use domain::base::Message;
use domain::base::iana::Rcode;
use domain::base::rdata::ComposeRecordData as _;
use domain::rdata::AllRecordData;
use effect::Result;

use super::peer::Peer;
use super::question::OwnedQuestion;
use super::request::Asking;
use super::routes::alone;
use super::trace::{Failure, Steps};
use super::upstream::Upstream;
use crate::record::{RecordType, Value};

/// One server.
pub struct Single {
    peer: Arc<Peer>,
    upstream: Upstream,
}

/// What it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The code of the answer.
    pub code: u8,
    /// The values of the type that was asked for, of the name or of what its aliases lead to.
    pub values: Vec<Value>,
    /// The smallest time to live of the records that lead there, in seconds.
    pub ttl: u32,
}

impl Single {
    /// The way to `upstream`; over TLS it is checked by the system's authorities.
    ///
    /// # Errors
    /// Where these cannot be read.
    pub fn new(upstream: Upstream) -> Result<Self> {
        Ok(Self { peer: alone(&upstream)?, upstream })
    }

    /// Who is asked.
    #[must_use]
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Asks, for a few seconds at most.
    ///
    /// # Errors
    /// Why there is no answer that can be used: SERVFAIL and REFUSED are none.
    pub async fn ask(
        &self,
        question: &OwnedQuestion,
        rtype: RecordType,
    ) -> std::result::Result<Said, Failure> {
        let reply = self.peer.ask(&Asking::of(&question.borrow()), &Steps::default()).await?;
        read(&reply.message, rtype).ok_or(Failure::Malformed("its records cannot be read"))
    }
}

fn read(message: &[u8], rtype: RecordType) -> Option<Said> {
    let message = Message::from_octets(message).ok()?;
    let (mut values, mut ttl) = (Vec::new(), u32::MAX);
    for record in message.answer().ok()? {
        let record = record.ok()?;
        ttl = ttl.min(record.ttl().as_secs());
        if record.rtype() == rtype.0 {
            let record = record.to_any_record::<AllRecordData<_, _>>().ok()?;
            let mut wire = Vec::new();
            record.data().compose_rdata(&mut wire).ok()?;
            values.push(Value::from_wire(rtype, &wire).ok()?);
        }
    }
    values.sort_by_cached_key(|value| value.canonical(rtype));
    let rcode: Rcode = message.header().rcode();
    Some(Said { code: rcode.to_int(), ttl: if values.is_empty() { 0 } else { ttl }, values })
}
