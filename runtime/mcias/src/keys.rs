//! Owns the keys that sign tokens: made on first use, sealed, replaced by age or by hand, and kept for as long as a token
//! of theirs can be valid.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use effect::{Code, Error, Hidden, Result, Sealer};
use journal::{Expect, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::random;
use crate::store::{KEY, Store};

/// For how long a look at the record is believed. A key that is not found is looked for at once.
const BELIEVED: Duration = Duration::from_secs(30);

/// A key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Key {
    /// What tokens call it: its thumbprint (RFC 7638).
    pub(crate) kid: String,
    /// The public half in base 64, as in a JWK.
    x: String,
    #[serde(skip)]
    public: Vec<u8>,
    /// The private half (PKCS #8).
    sealed: Hidden,
    /// When it was made.
    pub(crate) made: Timestamp,
}

impl Key {
    fn generate(sealer: &Sealer, now: Timestamp) -> Result<Self> {
        let failed = |_| Error::new(Code::Internal, "no key for tokens could be made");
        let pair = Ed25519KeyPair::generate().map_err(failed)?;
        let document = pair.to_pkcs8().map_err(failed)?;
        let public = pair.public_key().as_ref().to_vec();
        let x = random::encoded(&public);
        // The members in this order, and no blank (RFC 7638, section 3).
        let thumbprint = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let kid = random::encoded(&random::sha256(thumbprint.as_bytes()));
        Ok(Self { kid, x, public, sealed: sealer.hide(document.as_ref()), made: now })
    }

    /// What signs with it.
    pub(crate) fn pair(&self, sealer: &Sealer) -> Result<Ed25519KeyPair> {
        let broken = || Error::new(Code::JournalBroken, "a key of tokens is damaged");
        let pair = Ed25519KeyPair::from_pkcs8(&sealer.open_hidden(&self.sealed)?).map_err(|_| broken())?;
        // A key that is not the one services were told would sign what nobody takes.
        if pair.public_key().as_ref() == self.public { Ok(pair) } else { Err(broken()) }
    }

    /// The public half.
    pub(crate) fn public(&self) -> &[u8] {
        &self.public
    }

    fn jwk(&self) -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.kid, "x": self.x })
    }
}

/// The keys, as they were looked at last.
#[derive(Default)]
pub(crate) struct Keys {
    seen: Mutex<Option<(Timestamp, Arc<Vec<Key>>)>>,
}

impl Keys {
    /// The key with this id.
    pub(crate) async fn named(&self, store: &Store, kid: &str, now: Timestamp) -> Result<Option<Key>> {
        let find = |keys: &[Key]| keys.iter().find(|key| key.kid == kid).cloned();
        if let Some(found) = self.believed(now).and_then(|keys| find(&keys)) {
            return Ok(Some(found));
        }
        Ok(find(&self.look(store, now).await?))
    }

    /// The key that signs: the newest, which is replaced when it is older than `life`.
    pub(crate) async fn signing(
        &self,
        store: &Store,
        sealer: &Sealer,
        now: Timestamp,
        life: Duration,
    ) -> Result<Key> {
        let known = match self.believed(now) {
            Some(known) => known,
            None => self.look(store, now).await?,
        };
        match known.last() {
            Some(newest) if now < newest.made.after(life) => Ok(newest.clone()),
            _ => self.rotate(store, sealer, now).await,
        }
    }

    /// Puts a new key in the place of the one that signs. Those before it go on verifying.
    pub(crate) async fn rotate(&self, store: &Store, sealer: &Sealer, now: Timestamp) -> Result<Key> {
        let key = Key::generate(sealer, now)?;
        let write = store.write(KEY, &key.kid, &key, Expect::Absent)?;
        if !store.commit(vec![write]).await? {
            return Err(Error::new(Code::Internal, "two keys of tokens have the same id"));
        }
        self.look(store, now).await?;
        Ok(key)
    }

    /// The public halves as services fetch them (RFC 7517).
    pub(crate) async fn set(&self, store: &Store, now: Timestamp) -> Result<Value> {
        let keys = self.look(store, now).await?;
        Ok(json!({ "keys": keys.iter().map(Key::jwk).collect::<Vec<_>>() }))
    }

    /// Every key, the oldest first.
    pub(crate) async fn look(&self, store: &Store, now: Timestamp) -> Result<Arc<Vec<Key>>> {
        let mut keys: Vec<Key> = store.all(KEY).await?;
        for key in &mut keys {
            key.public = decoded(&key.x)?;
        }
        keys.sort_by(|one, other| (one.made, &one.kid).cmp(&(other.made, &other.kid)));
        let keys = Arc::new(keys);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, keys.clone()));
        Ok(keys)
    }

    fn believed(&self, now: Timestamp) -> Option<Arc<Vec<Key>>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, keys) = seen.as_ref()?;
        (*at <= now && now < at.after(BELIEVED)).then(|| keys.clone())
    }
}

fn decoded(x: &str) -> Result<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(x)
        .map_err(|_| Error::new(Code::JournalBroken, "a key of tokens is damaged"))
}
