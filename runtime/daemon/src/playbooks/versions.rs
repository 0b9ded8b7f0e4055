//! Owns how the API is told of versions.

use async_trait::async_trait;
use effect::{Code, Result};

use super::history::History;
use crate::api::{Version, Versions};

#[async_trait]
impl Versions for History {
    async fn list(&self, playbook: &str, below: Option<u64>, most: usize) -> Result<Vec<Version>> {
        let versions = match self.versions(playbook).await {
            Ok(versions) => versions,
            Err(error) if error.code == Code::PlaybookUnknown => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let wanted = versions.into_iter().filter(|version| below.is_none_or(|below| version.number < below));
        let told = wanted.take(most).map(|version| Version {
            number: version.number,
            version: version.version,
            file: version.file.display().to_string(),
            loaded: version.loaded,
        });
        Ok(told.collect())
    }

    async fn sources(&self, playbook: &str, number: u64) -> Result<Option<Vec<(String, String)>>> {
        match self.version(playbook, Some(number)).await {
            Ok(version) => History::sources(self, &version).await.map(Some),
            Err(error) if matches!(error.code, Code::PlaybookUnknown | Code::PlaybookVersion) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
