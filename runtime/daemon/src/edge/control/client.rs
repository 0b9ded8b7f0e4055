//! Owns the way to an edge, for whoever may wait for it; and how its successor takes its sockets.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use effect::{Code, Error, Result};

use super::ask::{Answer, Ask};
use super::{LONGEST_LINE, PATIENCE, descriptors, place};
use crate::edge::sockets::Sockets;

/// The way to an edge.
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// The edge of a state directory, if one is there.
    #[must_use]
    pub fn connect(state: &Path) -> Option<Self> {
        Self::at(&crate::edge::folder(state))
    }

    fn at(folder: &Path) -> Option<Self> {
        let stream = UnixStream::connect(place(folder)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        Some(Self { stream: BufReader::new(stream) })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// Where the edge does not answer, or says why it cannot.
    pub fn ask(&mut self, ask: &Ask) -> Result<Answer> {
        let failed =
            |error: io::Error| Error::new(Code::DnsUnavailable, "the edge does not answer").because(error);
        self.send(ask).map_err(failed)?;
        match self.read().map_err(failed)? {
            Answer::Failed { error } => Err(error),
            answer => Ok(answer),
        }
    }

    fn send(&mut self, ask: &Ask) -> io::Result<()> {
        let mut line = serde_json::to_vec(ask)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)
    }

    fn read(&mut self) -> io::Result<Answer> {
        let mut line = String::new();
        io::Read::take(&mut self.stream, LONGEST_LINE).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// The sockets of the edge.
    fn take_sockets(&mut self) -> io::Result<Sockets> {
        self.send(&Ask::HandOver)?;
        Ok(Sockets::given(descriptors::receive(self.stream.get_ref())?))
    }
}

/// The edge before this one, while it still answers.
pub(in crate::edge) struct Predecessor {
    client: Client,
    pub(in crate::edge) sockets: Sockets,
}

/// Takes the sockets of an edge that is there. One that hands nothing over is left alone: its addresses are then taken.
pub(in crate::edge) async fn succeed(folder: &Path) -> Option<Predecessor> {
    let folder = folder.to_owned();
    let succeeding = tokio::task::spawn_blocking(move || {
        let mut client = Client::at(&folder)?;
        match client.take_sockets() {
            Ok(sockets) => Some(Predecessor { client, sockets }),
            Err(error) => {
                tracing::warn!(%error, "the edge that is there does not hand its sockets over");
                None
            }
        }
    });
    succeeding.await.ok().flatten()
}

impl Predecessor {
    /// Takes what it has opened since: routes may have taken ports while this process began.
    pub(in crate::edge) async fn look_again(mut self) -> Option<Self> {
        let looking = tokio::task::spawn_blocking(move || {
            match self.client.take_sockets() {
                Ok(sockets) => self.sockets = sockets,
                Err(error) => tracing::warn!(%error, "the edge before this one hands over no more sockets"),
            }
            self
        });
        looking.await.ok()
    }

    /// Tells it that this process answers now.
    pub(in crate::edge) async fn relieve(mut self) {
        let relieving = tokio::task::spawn_blocking(move || self.client.ask(&Ask::Relieve).map(drop));
        if let Ok(Err(error)) = relieving.await {
            tracing::warn!(%error, "the edge before this one does not say that it ends");
        }
    }
}
