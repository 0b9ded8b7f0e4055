//! Owns finding docker's socket.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use effect::{Code, Error, Result};
use tokio::net::UnixStream;

use crate::engine::client::{Locate, try_connect};

/// Knows where docker may listen.
pub(super) struct Locator {
    configured: Option<PathBuf>,
}

impl Locator {
    pub(super) fn new(configured: Option<PathBuf>) -> Self {
        Self { configured }
    }
}

#[async_trait]
impl Locate for Locator {
    async fn open(&self) -> Result<(PathBuf, UnixStream)> {
        for path in self.sockets() {
            if let Some(stream) = try_connect(&path).await {
                return Ok((path, stream));
            }
        }
        let places: Vec<String> = self.sockets().iter().map(|path| path.display().to_string()).collect();
        Err(Error::new(Code::EngineUnavailable, "docker does not answer")
            .because(format!("nothing answers at {}", places.join(" or ")))
            .hint(
                "start docker, or name its socket in [drivers.docker]; `mcrun doctor` shows which engines were looked for",
            )
            .retryable())
    }

    fn sockets(&self) -> Vec<PathBuf> {
        if let Some(path) = &self.configured {
            return vec![path.clone()];
        }
        let variable = |name: &str| std::env::var(name).ok();
        let named = variable("DOCKER_HOST").and_then(|host| host.strip_prefix("unix://").map(PathBuf::from));
        let of_user = variable("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("docker.sock"));
        named.into_iter().chain(of_user).chain([PathBuf::from("/run/docker.sock")]).collect()
    }

    fn is_plausible(&self) -> bool {
        self.sockets().iter().any(|path| path.exists())
    }
}
