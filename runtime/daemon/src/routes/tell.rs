//! Owns that callers who follow routes are told at once of what others change: runs, operators, other processes that
//! write to the database.

use std::path::{Path, PathBuf};

use effect::Result;
use routes::embedded::{Feed, Look};
use routes::remote::Server;
use tokio::sync::watch;

use crate::edge::follow::{self, Follow};

/// Looks into the database for those who follow.
struct Telling {
    server: Server,
    state: PathBuf,
    node: String,
    feed: Option<Feed>,
}

impl Follow for Telling {
    const WHAT: &'static str = "callers";

    fn recall(&mut self) {}

    fn look(&mut self) -> Result<()> {
        let feed = match &mut self.feed {
            Some(feed) => feed,
            None => self.feed.insert(Feed::open(&self.state, &self.node)?),
        };
        let looked = feed.look().inspect_err(|_| self.feed = None)?;
        if !matches!(looked, Look::Nothing) {
            self.server.has_changed();
        }
        Ok(())
    }
}

/// Tells whoever follows at `server` of what is written to the database of `state`, until `over` becomes true.
///
/// # Errors
/// Where no thread can be started: followers then look by themselves, now and then.
pub async fn tell_followers(
    server: Server,
    state: &Path,
    node: &str,
    mut over: watch::Receiver<bool>,
) -> Result<()> {
    let telling = Telling { server, state: state.to_owned(), node: node.to_owned(), feed: None };
    let following = follow::start(telling, state, over.clone())?;
    // Whoever could say that it is over is gone: that is the end as well.
    let _ = over.wait_for(|is_over| *is_over).await;
    following.end().await;
    Ok(())
}
