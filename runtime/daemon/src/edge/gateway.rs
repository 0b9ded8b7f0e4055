//! Owns the way by which the driver of routes asks the edge.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use effect::{Code, Error, Result};
use routes::route::Backend;
use routes::{Drained, Figures, Gateway, Key};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::control::{Answer, Ask, lingering, place};

/// For an answer that takes no waiting.
const PATIENCE: Duration = Duration::from_secs(20);
/// The figures of all routes are the longest answer.
const LONGEST_ANSWER: u64 = 64 << 20;

/// The edge of a state directory, as the driver of routes asks it.
#[derive(Debug, Clone)]
pub struct ToEdge {
    place: PathBuf,
}

impl ToEdge {
    /// The edge of the state directory `state`.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { place: place(&super::folder(state)) }
    }

    /// Asks every edge that was succeeded and lets run what still does. What one of them says against it is told in the log:
    /// it serves nobody new.
    pub(super) async fn ask_lingering(folder: &Path, ask: &Ask, within: Duration) -> Vec<Answer> {
        let asked = lingering(folder).into_iter().map(|place| async move {
            let edge = Self { place };
            match timeout(within, edge.exchange(ask)).await {
                Ok(Ok(answer)) => {
                    if let Answer::Failed { error } = &answer {
                        tracing::warn!(%error, "an edge before this one does not follow");
                    }
                    Some(answer)
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    // It was killed, and could not take its name away.
                    let _ = std::fs::remove_file(&edge.place);
                    None
                }
                Ok(Err(_)) => None,
                Err(_) => {
                    tracing::warn!("an edge before this one does not answer");
                    None
                }
            }
        });
        futures_util::future::join_all(asked).await.into_iter().flatten().collect()
    }

    async fn ask(&self, ask: &Ask, within: Duration) -> Result<Answer> {
        let asked = timeout(within, self.exchange(ask)).await;
        match asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(Answer::Failed { error }) => Err(error),
            Ok(answer) => Ok(answer),
            Err(error) => Err(Error::new(Code::ProxyUnavailable, "no edge answers that would serve routes")
                .because(error)
                .hint("`mcrun serve` starts it")
                .retryable()),
        }
    }

    async fn exchange(&self, ask: &Ask) -> io::Result<Answer> {
        let mut stream = BufReader::new(UnixStream::connect(&self.place).await?);
        let mut line = serde_json::to_vec(ask)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut answer = Vec::new();
        stream.take(LONGEST_ANSWER).read_until(b'\n', &mut answer).await?;
        Ok(serde_json::from_slice(&answer)?)
    }
}

fn unexpected() -> Error {
    Error::new(Code::ProxyAnswer, "the edge answers something else")
        .hint("both sides take the same version of mcrun")
}

fn done(answer: Answer) -> Result<()> {
    if matches!(answer, Answer::Done) { Ok(()) } else { Err(unexpected()) }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[async_trait]
impl Gateway for ToEdge {
    async fn is_there(&self) -> bool {
        UnixStream::connect(&self.place).await.is_ok()
    }

    async fn admit(&self, standing: &routes::Standing) -> Result<()> {
        done(self.ask(&Ask::RouteAdmit { route: Box::new(standing.clone()) }, PATIENCE).await?)
    }

    async fn settle(&self, key: &Key, standing: Option<&routes::Standing>, within: Duration) -> Result<()> {
        let route = standing.cloned().map(Box::new);
        let ask = Ask::RouteSettle { key: key.clone(), route, within: millis(within) };
        done(self.ask(&ask, within.saturating_add(PATIENCE)).await?)
    }

    async fn settle_proof(&self, id: &str, is_offered: bool) -> Result<()> {
        done(self.ask(&Ask::RouteProof { id: id.to_owned(), is_offered }, PATIENCE).await?)
    }

    async fn drain(&self, key: &Key, backend: Option<Backend>, within: Duration) -> Result<Option<Drained>> {
        let ask = Ask::RouteDrain { key: key.clone(), backend, within: millis(within) };
        match self.ask(&ask, within.saturating_add(PATIENCE)).await? {
            Answer::Drained { drained } => Ok(drained),
            _ => Err(unexpected()),
        }
    }

    async fn figures(&self) -> Result<Vec<Figures>> {
        match self.ask(&Ask::RouteFigures, PATIENCE).await? {
            Answer::Figures { figures } => {
                serde_json::from_str(&figures).map_err(|error| unexpected().because(error))
            }
            _ => Err(unexpected()),
        }
    }
}
