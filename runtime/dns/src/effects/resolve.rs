//! Owns `dns.resolve` and `dns.wait_for`: what servers answer, rather than what a zone has.

use std::time::Duration;

use async_trait::async_trait;
use effect::units::Span;
use effect::{Code, Context, Declared, Error, Need, Read, Result, Timestamp, Wait};
use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::World;
use crate::forward::{OwnedQuestion, Said, Single, Upstream};
use crate::name::Name;
use crate::record::{RecordType, Value};
use crate::server::query::rcode;

/// Servers that one call asks.
const MOST_SERVERS: usize = 32;
/// Between two rounds, at first; each is twice as long, up to the interval.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Asks a name server, as programs do: wildcards and aliases are followed. Returns `nil` when there is no such name, or
/// nothing of this type.
///
/// Without `server` the one of this platform is asked, else those of the machine.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resolve {
    /// The whole name.
    name: String,
    /// The type.
    #[serde(rename = "type", default = "addresses")]
    rtype: RecordType,
    /// Whom to ask: `"192.0.2.1"`, `"192.0.2.1:5353"`, `"tcp://192.0.2.1"`, `"tls://9.9.9.9#dns.quad9.net"`.
    server: Option<String>,
}

/// Waits until name servers answer with exactly these values. Each of them must.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitFor {
    /// The whole name.
    name: String,
    /// The type.
    #[serde(rename = "type", default = "addresses")]
    rtype: RecordType,
    /// The values, in any order; an empty list waits until there is none.
    values: Vec<String>,
    /// Whom to ask, each as in `dns.resolve`; the servers of the driver unless given.
    servers: Option<Vec<String>>,
    /// How long it may take altogether.
    #[serde(default = "a_minute")]
    within: Span,
    /// The longest pause between two rounds.
    #[serde(default = "a_second")]
    interval: Span,
}

fn addresses() -> RecordType {
    RecordType::A
}

fn a_minute() -> Span {
    Span::seconds(60)
}

fn a_second() -> Span {
    Span::seconds(1)
}

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resolved {
    /// The name that was asked for.
    pub name: String,
    /// The type, `A`.
    #[serde(rename = "type")]
    pub rtype: RecordType,
    /// The values as a zone file has them.
    pub values: Vec<String>,
    /// How many seconds the answer holds.
    pub ttl: u32,
    /// Who answered.
    pub server: String,
}

/// What the servers answered at last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Awaited {
    /// How many servers answer so; 0 in a plan, which only assumes.
    pub servers: usize,
    /// How many rounds it took.
    pub rounds: u32,
}

fn server(text: &str) -> Result<Upstream> {
    text.parse().map_err(|error: crate::forward::BadUpstream| Error::new(Code::Argument, error.to_string()))
}

fn question(name: &Name, rtype: RecordType) -> Result<OwnedQuestion> {
    let text = if name.wire() == [0] { ".".to_owned() } else { format!("{name}.") };
    OwnedQuestion::new(&text, rtype.0)
        .map_err(|error| Error::new(Code::DnsName, format!("`{name}` cannot be asked for")).because(error))
}

/// What asking `name` needs: the name itself, and each server that the script chose.
fn needs(name: &str, servers: &[String]) -> Result<Vec<Need>> {
    let mut needs = vec![Need::read("dns", Name::absolute(name)?.to_string())];
    for text in servers {
        needs.push(Need::extra("dns", "servers", server(text)?.address.to_string()));
    }
    Ok(needs)
}

impl Declared for Resolve {
    const NAME: &'static str = "dns.resolve";
    const CAPABILITY: &'static str = "dns:read:NAME";
    const EXAMPLE: &'static str = "local found = dns.resolve { name = \"localhost\" }\nprint(if found then found.values[1] else \"no such name\")";
    type World = World;
    type Output = Option<Resolved>;

    fn subject(&self) -> String {
        format!("{} {}", self.name, self.rtype)
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        needs(&self.name, self.server.as_slice())
    }
}

#[async_trait]
impl Read for Resolve {
    async fn read(&self, world: &World, context: &Context) -> Result<Option<Resolved>> {
        let name = Name::absolute(&self.name)?;
        let question = question(&name, self.rtype)?;
        let servers = match &self.server {
            Some(text) => vec![server(text)?],
            None => world.resolvers(context)?,
        };
        let mut failures = Vec::new();
        for upstream in servers {
            let single = Single::new(upstream)?;
            match single.ask(&question, self.rtype).await {
                Ok(said) if said.values.is_empty() => return Ok(None),
                Ok(said) => {
                    return Ok(Some(Resolved {
                        name: name.to_string(),
                        rtype: self.rtype,
                        values: texts(&said, self.rtype),
                        ttl: said.ttl,
                        server: single.upstream().to_string(),
                    }));
                }
                Err(failure) => failures.push(format!("{}: {failure}", single.upstream())),
            }
        }
        let error = Error::new(Code::DnsUnavailable, format!("`{name}` cannot be looked up")).retryable();
        Err(failures.into_iter().fold(error, Error::detail))
    }
}

fn texts(said: &Said, rtype: RecordType) -> Vec<String> {
    said.values.iter().map(|value| value.text(rtype)).collect()
}

impl Declared for WaitFor {
    const NAME: &'static str = "dns.wait_for";
    const CAPABILITY: &'static str = "dns:read:NAME";
    const EXAMPLE: &'static str = "dns.wait_for { name = \"hello.mcrun.test\", type = \"A\", values = { \"127.0.0.1\" }, servers = { \"127.0.0.1\" }, within = \"2m\" }";
    type World = World;
    type Output = Awaited;

    fn subject(&self) -> String {
        format!("{} {}", self.name, self.rtype)
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        needs(&self.name, self.servers.as_deref().unwrap_or_default())
    }
}

#[async_trait]
impl Wait for WaitFor {
    fn until(&self, now: Timestamp) -> Option<Timestamp> {
        Some(now.after(self.within.0))
    }

    fn promise(&self) -> Awaited {
        Awaited { servers: 0, rounds: 0 }
    }

    async fn wait(&self, world: &World, context: &Context, until: Option<Timestamp>) -> Result<Awaited> {
        let name = Name::absolute(&self.name)?;
        let question = question(&name, self.rtype)?;
        let wanted = self.wanted()?;
        let servers = match &self.servers {
            Some(texts) => texts.iter().map(|text| server(text)).collect::<Result<Vec<_>>>()?,
            None => world.answering(context)?,
        };
        if servers.is_empty() || servers.len() > MOST_SERVERS {
            return Err(Error::new(
                Code::Argument,
                format!("`servers`: from 1 to {MOST_SERVERS} are asked, not {}", servers.len()),
            )
            .hint("name them, or say in mcrun.toml where [dns] listens"));
        }
        let singles = servers.into_iter().map(Single::new).collect::<Result<Vec<_>>>()?;
        let (mut rounds, mut pause) = (0, FIRST_PAUSE);
        loop {
            rounds += 1;
            let asked = singles.iter().map(|single| self.behind(single, &question, &wanted));
            let behind: Vec<String> = join_all(asked).await.into_iter().flatten().collect();
            if behind.is_empty() {
                return Ok(Awaited { servers: singles.len(), rounds });
            }
            let left = until.map_or(Duration::MAX, |until| until.since(context.now()));
            if left.is_zero() {
                let message = format!(
                    "`{name}` is not answered for as it should be by all of {} servers",
                    singles.len()
                );
                let error = Error::new(Code::DnsNotYet, message).retryable();
                return Err(behind.into_iter().fold(error, Error::detail));
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(self.interval.0.max(FIRST_PAUSE));
        }
    }
}

impl WaitFor {
    /// The values in the form in which they are compared.
    fn wanted(&self) -> Result<Vec<Vec<u8>>> {
        let root = Name::root();
        let parsed = self.values.iter().map(|text| Value::parse(self.rtype, text, &root));
        let mut wanted: Vec<Vec<u8>> =
            parsed.map(|value| value.map(|value| value.canonical(self.rtype))).collect::<Result<_>>()?;
        wanted.sort();
        wanted.dedup();
        Ok(wanted)
    }

    /// What a server says that does not answer so yet.
    async fn behind(&self, single: &Single, question: &OwnedQuestion, wanted: &[Vec<u8>]) -> Option<String> {
        let server = single.upstream();
        match single.ask(question, self.rtype).await {
            Ok(said) => {
                let mut found: Vec<Vec<u8>> =
                    said.values.iter().map(|value| value.canonical(self.rtype)).collect();
                found.sort();
                found.dedup();
                let shown = match said.values.is_empty() {
                    true => rcode::name(said.code).to_owned(),
                    false => texts(&said, self.rtype).join(", "),
                };
                (found != wanted).then(|| format!("{server}: {shown}"))
            }
            Err(failure) => Some(format!("{server}: {failure}")),
        }
    }
}
