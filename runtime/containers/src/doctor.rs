//! Owns the report on drivers that `doctor` shows: what answers, what it can do, what is missing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::driver::Driver;
use crate::features::Feature;
use crate::process::obstacle;

/// What was found out about one driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The driver's name.
    pub driver: String,
    /// Whether it answers.
    pub available: bool,
    /// The version of what answers.
    pub version: Option<String>,
    /// Where it is reached, or was looked for.
    pub place: String,
    /// What it can do.
    pub features: Vec<String>,
    /// What is missing, in words: the reason why it does not answer, or features that this machine could have.
    pub problems: Vec<String>,
}

/// Asks one driver.
pub async fn examine(driver: &dyn Driver) -> Finding {
    let answer = driver.ping().await;
    let features = driver.features();
    let mut problems = Vec::new();
    if let Err(error) = &answer {
        problems.push(error.to_string());
    }
    if features.contains(&Feature::Exec) {
        if !features.contains(&Feature::Memory) {
            problems.push("no limits for native programs: the control groups are not writable".to_owned());
        }
        if !features.contains(&Feature::User) {
            problems.push("native programs run as this user only: changing it takes root".to_owned());
        }
        if let Some(cause) = obstacle().filter(|_| !features.contains(&Feature::Volumes)) {
            problems.push(format!(
                "native programs see the host's own files and network: no namespaces: {cause}"
            ));
        }
    }
    Finding {
        driver: driver.name().to_owned(),
        available: answer.is_ok(),
        version: answer.ok().filter(|version| !version.is_empty()),
        place: driver.place(),
        features: features.iter().map(|feature| feature.as_str().to_owned()).collect(),
        problems,
    }
}
