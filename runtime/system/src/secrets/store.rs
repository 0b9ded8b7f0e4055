//! Owns the configured secrets as the corridor asks for them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::PoisonError;

use async_trait::async_trait;
use effect::{Code, Error, Result, Secrets};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::source::{SecretSource, Source};

/// Shorter values are not masked: they would turn up in any text by chance.
const SHORTEST_MASKED: usize = 4;

/// Every configured secret. Values are read when first needed and kept as long as the store: within one run a secret
/// does not change.
pub struct SecretStore {
    sources: BTreeMap<String, Source>,
    values: Mutex<BTreeMap<String, Zeroizing<Vec<u8>>>>,
    /// What is masked in output: the values as text, in their spellings.
    revealed: std::sync::Mutex<BTreeMap<String, Vec<Zeroizing<String>>>>,
}

impl SecretStore {
    /// The store of a script in the folder `root`.
    ///
    /// # Errors
    /// `MC-U002` for a source that is not exactly one, lies in the script's folder, or has a malformed destination.
    pub fn new(sources: &BTreeMap<String, SecretSource>, root: &Path) -> Result<Self> {
        let checked = sources.iter().map(|(name, source)| Ok((name.clone(), source.check(name, root)?)));
        Ok(Self {
            sources: checked.collect::<Result<_>>()?,
            values: Mutex::default(),
            revealed: std::sync::Mutex::default(),
        })
    }

    fn find(&self, name: &str) -> Result<&Source> {
        self.sources.get(name).ok_or_else(|| {
            let message = format!("there is no secret `{}`", crate::exec::clip(name));
            let error = Error::new(Code::SecretUnknown, message);
            match effect::policy::nearest(name, self.sources.keys().map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("configure it under [secrets.\"{name}\"] in mcrun.toml")),
            }
        })
    }
}

#[async_trait]
impl Secrets for SecretStore {
    async fn reveal(&self, name: &str) -> Result<Zeroizing<Vec<u8>>> {
        let source = self.find(name)?;
        let mut values = self.values.lock().await;
        if let Some(value) = values.get(name) {
            return Ok(value.clone());
        }
        let value = source.read(name).await?;
        if let Ok(text) = std::str::from_utf8(&value)
            && text.len() >= SHORTEST_MASKED
        {
            let mut revealed = self.revealed.lock().unwrap_or_else(PoisonError::into_inner);
            revealed.insert(name.to_owned(), spellings(text));
        }
        values.insert(name.to_owned(), value.clone());
        Ok(value)
    }

    fn may_go(&self, name: &str, destination: &str) -> Result<bool> {
        Ok(self.find(name)?.may_go(destination))
    }

    fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let revealed = self.revealed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut masked = Cow::Borrowed(text);
        for (name, spellings) in revealed.iter() {
            for spelling in spellings {
                if masked.contains(spelling.as_str()) {
                    masked = masked.replace(spelling.as_str(), &format!("secret({name})")).into();
                }
            }
        }
        masked
    }
}

/// The text as it is, within JSON and within a web address: so servers and programs repeat what they were given.
fn spellings(text: &str) -> Vec<Zeroizing<String>> {
    let json = Zeroizing::new(serde_json::to_string(text).expect("a string is JSON"));
    let mut all = vec![
        Zeroizing::new(text.to_owned()),
        Zeroizing::new(json[1..json.len() - 1].to_owned()),
        Zeroizing::new(percent(text)),
    ];
    all.dedup_by(|one, other| *one == *other);
    all
}

fn percent(text: &str) -> String {
    let spelled = |byte: u8| match char::from(byte) {
        letter if letter.is_ascii_alphanumeric() || "-_.~".contains(letter) => letter.to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(spelled).collect()
}
