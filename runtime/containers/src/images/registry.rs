//! Owns questions to registries: what a tag means now, and what the image behind it says. Speaks the distribution
//! specification's pull side as far as that goes; moving content is the engine's work.

mod exchange;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use effect::{Code, Error, Result};
use hyper::StatusCode;
use hyper::header::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use url::Url;
use zeroize::Zeroize as _;

use self::exchange::Answer;
use super::engine::Login;
use super::reference::{Reference, is_digest};
use super::stream::explain;
use crate::observed::ImageDefaults;

pub(super) use self::exchange::Connector;

/// As the distribution specification bounds a manifest.
const LARGEST_MANIFEST: usize = 4 << 20;
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// What a registry has under a name.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    /// The digest that the name means now.
    pub(super) digest: String,
    /// The image by its content on this kind of machine: what engines call its id.
    pub(super) id: String,
    /// Bytes to be transferred at most.
    pub(super) size: u64,
    /// What it says for fields that a container leaves out.
    pub(super) defaults: ImageDefaults,
}

#[derive(Deserialize)]
struct Manifest {
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    size: u64,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
}

/// One registry, asked by one user.
pub(super) struct Registry<'a> {
    connector: &'a Connector,
    reference: &'a Reference,
    login: Option<&'a Login>,
    base: Url,
    token: tokio::sync::Mutex<Option<String>>,
}

impl<'a> Registry<'a> {
    pub(super) fn new(
        connector: &'a Connector,
        reference: &'a Reference,
        login: Option<&'a Login>,
    ) -> Result<Self> {
        let host = match reference.registry.as_str() {
            "docker.io" => "registry-1.docker.io",
            host => host,
        };
        let base = Url::parse(&format!("https://{host}/v2/{}/", reference.repository)).map_err(|cause| {
            Error::new(Code::Argument, format!("`{}` is not the name of a registry", reference.registry))
                .because(cause)
        })?;
        Ok(Self { connector, reference, login, base, token: tokio::sync::Mutex::new(None) })
    }

    /// What the name means now.
    pub(super) async fn resolve(&self) -> Result<Remote> {
        let tag = self.reference.digest.as_deref().unwrap_or_else(|| self.reference.tag_or_latest());
        let (digest, manifest) = self.manifest(tag).await?;
        let manifest = match self.of_this_machine(&manifest)? {
            Some(instance) => self.manifest(&instance).await?.1,
            None => manifest,
        };
        let config = manifest.config.ok_or_else(|| self.broken("its manifest names no config"))?;
        let document: Value = serde_json::from_slice(&self.content("blobs", &config.digest).await?.1)
            .map_err(|cause| self.broken(cause))?;
        Ok(Remote {
            digest,
            size: manifest.layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add),
            defaults: crate::engine::read::image_defaults(&config.digest, &document["config"])
                .map_err(|cause| self.broken(cause))?,
            id: config.digest,
        })
    }

    /// The digest of the instance for this machine, where there are several.
    fn of_this_machine(&self, manifest: &Manifest) -> Result<Option<String>> {
        if manifest.manifests.is_empty() {
            return Ok(None);
        }
        let architecture = architecture();
        let fits = |descriptor: &&Descriptor| {
            descriptor.platform.as_ref().is_some_and(|it| it.os == "linux" && it.architecture == architecture)
        };
        let instance = manifest.manifests.iter().find(fits);
        let instance = instance.ok_or_else(|| {
            let message = format!("image `{}` does not exist for linux/{architecture}", self.reference);
            Error::new(Code::ImageUnknown, message)
        })?;
        Ok(Some(instance.digest.clone()))
    }

    async fn manifest(&self, tag: &str) -> Result<(String, Manifest)> {
        let (digest, body) = self.content("manifests", tag).await?;
        Ok((digest, serde_json::from_slice(&body).map_err(|cause| self.broken(cause))?))
    }

    /// A manifest or blob and its digest. What was asked for by digest has it: a registry's word is not enough.
    async fn content(&self, kind: &str, name: &str) -> Result<(String, Vec<u8>)> {
        if is_digest(name) || kind == "manifests" {
            let url = self.base.join(&format!("{kind}/{name}")).map_err(|cause| self.broken(cause))?;
            let answer = self.ask(url).await?;
            let digest = digest(&answer.body);
            if is_digest(name) && digest != name {
                return Err(self.broken(format!("{kind}/{name} has other content")));
            }
            return Ok((digest, answer.body));
        }
        Err(self.broken(format!("`{}` is not a digest", name.chars().take(80).collect::<String>())))
    }

    async fn ask(&self, url: Url) -> Result<Answer> {
        let known = self.token.lock().await.clone();
        let answer = self.connector.get(&url, MANIFESTS, known.as_deref(), LARGEST_MANIFEST).await?;
        if answer.status != StatusCode::UNAUTHORIZED || known.is_some() {
            return self.accept(answer);
        }
        let Some(authorization) = self.authorization(&answer.headers).await? else {
            return self.accept(answer);
        };
        *self.token.lock().await = Some(authorization.clone());
        self.accept(self.connector.get(&url, MANIFESTS, Some(&authorization), LARGEST_MANIFEST).await?)
    }

    /// The header that a challenge asks for; `None` where we have nothing to say.
    async fn authorization(&self, headers: &HeaderMap) -> Result<Option<String>> {
        let challenge =
            headers.get("www-authenticate").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (scheme, rest) = challenge.split_once(' ').unwrap_or((challenge, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Ok(self.login.map(basic));
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Ok(None);
        }
        let realm = parameter(rest, "realm").ok_or_else(|| self.broken("its challenge names no realm"))?;
        let mut url = Url::parse(&realm).map_err(|cause| self.broken(cause))?;
        url.query_pairs_mut()
            .append_pair("scope", &format!("repository:{}:pull", self.reference.repository))
            .extend_pairs(parameter(rest, "service").map(|service| ("service", service)));
        let answer =
            self.connector.get(&url, "application/json", self.login.map(basic).as_deref(), 1 << 20).await?;
        let answer = self.accept(answer)?;
        let told: Value = serde_json::from_slice(&answer.body).map_err(|cause| self.broken(cause))?;
        let token = told["token"].as_str().or_else(|| told["access_token"].as_str());
        Ok(token.map(|token| format!("Bearer {token}")))
    }

    fn accept(&self, answer: Answer) -> Result<Answer> {
        let registry = &self.reference.registry;
        match answer.status.as_u16() {
            200 => Ok(answer),
            401 | 403 => {
                let error = Error::new(
                    Code::RegistryRefused,
                    format!("registry {registry} refuses `{}`", self.reference),
                );
                Err(match self.login {
                    Some(login) => error
                        .because(format!(
                            "it does not accept user `{}` with this password for it",
                            login.username
                        ))
                        .hint("look at the secret, and whether the user may read the repository"),
                    None => error
                        .because("it asks for a user name and password")
                        .hint("give `auth = { username = \"…\", password = secrets.get(\"…\") }`"),
                })
            }
            404 => Err(Error::new(
                Code::ImageUnknown,
                format!("registry {registry} has no `{}`", self.reference),
            )),
            _ => Err(explain(
                &format!("ask {registry} for `{}`", self.reference),
                &format!("status {}", answer.status),
            )),
        }
    }

    fn broken(&self, cause: impl std::fmt::Display) -> Error {
        let message = format!("the answer of registry {} cannot be understood", self.reference.registry);
        Error::new(Code::RegistryUnavailable, message).because(cause)
    }
}

/// `sha256:` and the digits.
pub(super) fn digest(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    hash.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

fn basic(login: &Login) -> String {
    let mut pair = Vec::from(login.username.as_bytes());
    pair.push(b':');
    pair.extend_from_slice(&login.password);
    let header = format!("Basic {}", STANDARD.encode(&pair));
    pair.zeroize();
    header
}

/// One `name="value"` of a challenge.
fn parameter(challenge: &str, name: &str) -> Option<String> {
    challenge.match_indices(name).find_map(|(at, _)| {
        let is_start = at == 0 || challenge[..at].ends_with([',', ' ']);
        let value = challenge[at + name.len()..].strip_prefix("=\"")?;
        is_start.then(|| value.split('"').next().unwrap_or_default().to_owned())
    })
}

/// As images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests;
