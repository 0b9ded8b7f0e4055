//! Owns the recorded history of a resumed run: handing it out, and noticing that a script has left it.

use journal::{Identity, Place, Recorded};
use serde_json::value::RawValue;

use super::Session;
use super::outcome::parse_error;
use crate::{Code, Error, Result};

impl Session {
    /// The next recorded completions, at most `limit`, for the worker to replay from; empty at their end.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn next_history(&self, limit: usize) -> Result<Vec<Recorded>> {
        let after = self.progress().replayed;
        let items = self.journal().history(&self.shared.run, after, limit).await?;
        for item in items.iter().filter(|item| item.identity.name == "secrets.get") {
            self.reveal_again(&item.outcome).await;
        }
        for item in items.iter().filter(|item| matches!(item.outcome, journal::Outcome::Failed(_))) {
            self.bound.iter().for_each(|bound| bound.failed(&item.identity));
        }
        let mut progress = self.progress();
        for item in &items {
            progress.replayed = item.order;
            let last = progress.counters.entry(item.identity.scope.clone()).or_default();
            *last = (*last).max(item.identity.counter);
        }
        Ok(items)
    }

    /// A secret that an earlier attempt got is masked in this one too.
    async fn reveal_again(&self, outcome: &journal::Outcome) {
        let secret = outcome.text().and_then(|text| serde_json::from_str::<crate::Secret>(text).ok());
        for named in secret.iter().flat_map(crate::Secret::values) {
            if let Err(error) = self.shared.secrets.reveal_version(named.name, named.version).await {
                tracing::debug!(%error, "a secret of the recorded history cannot be masked");
            }
        }
    }

    /// What was begun before the run was resumed and not asked for again: the script has left its history.
    #[must_use]
    pub fn unclaimed(&self) -> Option<Error> {
        let progress = self.progress();
        let open = progress.open.values().next()?;
        let recorded = format!("{} {}", open.identity.name, open.arguments);
        Some(divergence(
            &open.identity,
            &recorded,
            "nothing: the script did not ask for it",
            open.place.as_ref(),
        ))
    }
}

/// The hash by which a resumed run recognises its arguments.
#[must_use]
pub fn hash(arguments: &RawValue) -> [u8; 16] {
    let hash = blake3::hash(arguments.get().as_bytes());
    hash.as_bytes().first_chunk().copied().expect("a BLAKE3 hash has 32 bytes")
}

/// A divergence that shows both sides.
#[must_use]
pub fn divergence(identity: &Identity, recorded: &str, requested: &str, place: Option<&Place>) -> Error {
    let at = place.map(|place| format!(" at {}:{}", place.file, place.line)).unwrap_or_default();
    Error::new(Code::Divergence, format!("effect {identity}{at} differs from the recorded history"))
        .detail(format!("recorded:  {}", clip(recorded)))
        .detail(format!("requested: {}", clip(requested)))
        .hint("the run is paused and nothing was done; `mcrun show RUN` lists its history")
}

fn clip(text: &str) -> String {
    const LONGEST: usize = 400;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The error that an effect recorded.
///
/// # Errors
/// `MC-J007` when it cannot be decoded.
pub fn recorded_error(text: &str) -> Result<Error> {
    parse_error(text)
}
