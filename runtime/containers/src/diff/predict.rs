//! Owns the prediction: how the live object will look once a spec is brought about. A plan goes on with it, and
//! comparing it with its own spec finds no difference.

use crate::observed::{Observed, State};
use crate::spec::DEFAULT_STOP_TIMEOUT;

use super::fields::Comparison;
use super::normal;

impl Comparison<'_> {
    pub(super) fn predicted(&self, driver: &str, live: Option<&Observed>) -> effect::Result<Observed> {
        let spec = self.spec;
        let native = spec.exec.is_some();
        let mut env = self.image.map(|image| image.env.clone()).unwrap_or_default();
        env.extend(spec.env.clone());
        let mut labels = self.image.map(|image| image.labels.clone()).unwrap_or_default();
        labels.extend(spec.labels.clone());
        let mut volumes: Vec<String> = spec.mounts()?.iter().map(ToString::to_string).collect();
        volumes.sort();
        let of_image =
            |pick: fn(&crate::ImageDefaults) -> &String| self.image.map(|image| pick(image).clone());
        let signal =
            spec.stop_signal.clone().or_else(|| self.image.and_then(|image| image.stop_signal.clone()));
        Ok(Observed {
            name: spec.name.clone(),
            driver: driver.to_owned(),
            id: live.map(|live| live.id.clone()).unwrap_or_default(),
            state: State::Running,
            exit_code: None,
            pid: live.and_then(|live| live.pid),
            started_at: live.and_then(|live| live.started_at.clone()),
            restarts: 0,
            managed: true,
            adopted: live.is_some_and(|live| live.adopted),
            service: Some(spec.service_name().to_owned()),
            image: spec.image.clone(),
            image_id: self.image.map(|image| image.id.clone()),
            native,
            argv: match &spec.exec {
                Some(argv) => argv.clone(),
                None => [self.entrypoint(), self.cmd()].concat(),
            },
            env,
            secrets: self.tags.clone(),
            origins: live.map(|live| live.origins.clone()).unwrap_or_default(),
            volumes,
            ports: spec.published_ports(),
            network: spec
                .network
                .clone()
                .unwrap_or_else(|| if native { "host" } else { "bridge" }.to_owned()),
            user: spec.user.clone().or_else(|| of_image(|image| &image.user)).unwrap_or_default(),
            restart: spec.restart_or_default(),
            labels,
            cpus: spec.cpus,
            memory: spec.memory.map(normal::pages),
            health: spec.health.clone(),
            stop_signal: signal.unwrap_or_else(|| "SIGTERM".to_owned()),
            stop_timeout: spec.stop_timeout.unwrap_or(DEFAULT_STOP_TIMEOUT),
            read_only: spec.read_only.unwrap_or(false),
            workdir: spec.workdir.clone().or_else(|| of_image(|image| &image.workdir)).unwrap_or_default(),
            privileged: spec.privileged.unwrap_or(false),
            devices: normal::set(&spec.devices, normal::device),
            cap_add: normal::set(&spec.cap_add, normal::capability),
            capabilities: live.map(|live| live.capabilities.clone()).unwrap_or_default(),
        })
    }
}
