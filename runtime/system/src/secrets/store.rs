//! Owns the secrets as the corridor asks for them, wherever they come from.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use effect::{Code, Error, Result, Secrets};
use journal::RunId;
use journal::audit::{Kind, New};
use serde_json::json;
use tokio::sync::{Mutex, OnceCell};
use zeroize::Zeroizing;

use super::sealed::Vault;
use super::source::{SecretSource, Source};

/// Shorter values are not masked: they would turn up in any text by chance.
const SHORTEST_MASKED: usize = 4;

/// Every secret. Values are read when first needed and kept as long as the store: within one run a secret does not change.
pub struct SecretStore {
    sources: BTreeMap<String, Source>,
    vault: Option<Arc<Vault>>,
    /// The run that uses them.
    run: Option<RunId>,
    /// In whose name they are used where nobody is known to have started the run.
    user: String,
    /// Who started the run.
    starter: OnceCell<String>,
    values: Mutex<Values>,
    /// What is masked in output: the values as text, in their spellings.
    revealed: std::sync::Mutex<BTreeMap<Key, Vec<Zeroizing<String>>>>,
    /// The uses that are recorded already.
    used: Mutex<BTreeSet<(Key, String)>>,
}

/// A secret, and its version where it has versions.
type Key = (String, Option<u32>);

#[derive(Default)]
struct Values {
    opened: BTreeMap<Key, Zeroizing<Vec<u8>>>,
    /// The versions in force when they were first asked for.
    current: BTreeMap<String, u32>,
}

/// Where one secret comes from.
enum Origin<'a> {
    Source(&'a Source),
    Sealed(&'a Vault),
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
            vault: None,
            run: None,
            user: String::new(),
            starter: OnceCell::new(),
            values: Mutex::default(),
            revealed: std::sync::Mutex::default(),
            used: Mutex::default(),
        })
    }

    /// The same with the secrets of the sealed store. What is used is used by `run`, or else by `user`, and in the audit.
    #[must_use]
    pub fn with_sealed(self, vault: Arc<Vault>, run: Option<RunId>, user: &str) -> Self {
        Self { vault: Some(vault), run, user: user.to_owned(), ..self }
    }

    /// Who uses what is used here.
    async fn principal(&self, vault: &Vault) -> Result<&str> {
        let asked = self.starter.get_or_try_init(|| async {
            let starter = match &self.run {
                Some(run) => vault.starter(run).await?,
                None => None,
            };
            Ok::<_, Error>(starter.unwrap_or_else(|| self.user.clone()))
        });
        Ok(asked.await?)
    }

    fn find(&self, name: &str) -> Result<Origin<'_>> {
        let sealed = self.vault.as_deref().filter(|vault| vault.knows(name));
        match (self.sources.get(name), sealed) {
            (Some(_), Some(_)) => {
                let message = format!("secret `{name}` is in mcrun.toml and in the sealed store");
                Err(Error::new(Code::SecretTwice, message))
            }
            (Some(source), None) => Ok(Origin::Source(source)),
            (None, Some(vault)) => Ok(Origin::Sealed(vault)),
            (None, None) => Err(self.unknown(name)),
        }
    }

    fn unknown(&self, name: &str) -> Error {
        let message = format!("there is no secret `{}`", crate::exec::clip(name));
        let error = Error::new(Code::SecretUnknown, message);
        let configured = effect::policy::nearest(name, self.sources.keys().map(String::as_str));
        let sealed = self.vault.as_deref().and_then(|vault| vault.nearest(name));
        match configured.map(str::to_owned).or(sealed) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!(
                "configure it under [secrets.\"{name}\"] in mcrun.toml, or put it into the sealed store: `mcrun secrets \
                 set {name}`"
            )),
        }
    }

    /// Keeps a value that was opened, and masks it from now on.
    fn keep(&self, values: &mut Values, key: Key, value: Zeroizing<Vec<u8>>) {
        if let Ok(text) = std::str::from_utf8(&value)
            && text.len() >= SHORTEST_MASKED
        {
            let mut revealed = self.revealed.lock().unwrap_or_else(PoisonError::into_inner);
            revealed.insert(key.clone(), spellings(text));
        }
        values.opened.insert(key, value);
    }

    async fn value(&self, name: &str, asked: Option<u32>) -> Result<(Option<u32>, Zeroizing<Vec<u8>>)> {
        self.look(name).await?;
        let origin = self.find(name)?;
        let mut values = self.values.lock().await;
        let version = asked.or_else(|| values.current.get(name).copied());
        let version = if matches!(origin, Origin::Sealed(_)) { version } else { None };
        if let Some(value) = values.opened.get(&(name.to_owned(), version)) {
            return Ok((version, value.clone()));
        }
        let (version, value) = match origin {
            Origin::Source(source) => (None, source.read(name).await?),
            Origin::Sealed(vault) => {
                let opened = vault.open(name, version).await?;
                if asked.is_none() {
                    values.current.insert(name.to_owned(), opened.version);
                }
                (Some(opened.version), opened.value)
            }
        };
        self.keep(&mut values, (name.to_owned(), version), value.clone());
        Ok((version, value))
    }
}

#[async_trait]
impl Secrets for SecretStore {
    async fn reveal(&self, name: &str) -> Result<Zeroizing<Vec<u8>>> {
        Ok(self.value(name, None).await?.1)
    }

    async fn current(&self, name: &str) -> Result<(Option<u32>, Zeroizing<Vec<u8>>)> {
        self.value(name, None).await
    }

    async fn reveal_version(&self, name: &str, version: Option<u32>) -> Result<Zeroizing<Vec<u8>>> {
        Ok(self.value(name, version).await?.1)
    }

    async fn look(&self, name: &str) -> Result<()> {
        if let Some(vault) = &self.vault {
            vault.look(name).await?;
        }
        Ok(())
    }

    async fn used(&self, name: &str, version: Option<u32>, destination: &str) -> Result<()> {
        let Some(vault) = &self.vault else { return Ok(()) };
        let key = ((name.to_owned(), version), destination.to_owned());
        // Held while it is recorded: nobody goes on with a value before that.
        let mut used = self.used.lock().await;
        if used.contains(&key) {
            return Ok(());
        }
        let told = New::of(Kind::Secret, self.principal(vault).await?, "secrets.use", name, "used")
            .with(json!({ "to": destination, "version": version }));
        let told = New { run: self.run, ..told };
        match version {
            Some(number) => {
                let run = self.run.as_ref().map(RunId::as_str);
                vault.record_use(name, number, run, destination, &told).await?;
            }
            // Of what is configured, its source knows which version it is.
            None => vault.audit_use(told).await?,
        }
        used.insert(key);
        Ok(())
    }

    fn may_go(&self, name: &str, destination: &str) -> Result<bool> {
        Ok(match self.find(name)? {
            Origin::Source(source) => source.may_go(destination),
            Origin::Sealed(vault) => vault.may_go(name, destination),
        })
    }

    fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let revealed = self.revealed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut masked = Cow::Borrowed(text);
        for ((name, _), spellings) in revealed.iter() {
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
