//! Owns the lines of a runbook. Everything that comes from a record is a comment without line breaks, or a quoted word.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use containers::Spec;
use containers::command_line::{self, CommandLine, Dialect, Native, SecretFile};
use containers::shell::{joined, quoted};
use effect::secret::Part;
use effect::{Result, Secret};

use super::{Container, Runbook, Service};
use crate::render;

const HEAD: &str = include_str!("head.sh");
const ORPHANS: &str = include_str!("orphans.sh");
/// Another engine keeps what it knows with each container.
const NO_ORPHANS: &str = "is_free() { return 0; }\n";
/// Before the name of a secret in an environment variable.
const PREFIX: &str = "MCRUN_SECRET_";

/// The whole script.
pub(super) fn of(runbook: &Runbook) -> String {
    let variables = variables(runbook);
    let mut script = Script { text: String::new(), variables, dialect: runbook.dialect, started: Vec::new() };
    script.introduce(runbook);
    for service in &runbook.services {
        script.service(service);
    }
    script.line("");
    script.line("[ \"$left\" -eq 0 ] || say 'not everything runs: see above' >&2");
    script.line("exit \"$left\"");
    script.text
}

/// The environment variable of each secret.
fn variables(runbook: &Runbook) -> BTreeMap<String, String> {
    let specs = runbook.services.iter().flat_map(|service| &service.containers);
    let specs = specs.filter_map(|container| container.recorded.as_ref().ok());
    let secrets = specs.flat_map(|recorded| recorded.spec.secrets.values());
    let names: std::collections::BTreeSet<&str> = secrets.flat_map(Secret::names).collect();
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    for name in names {
        let fits = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let plain = format!("{PREFIX}{}", name.chars().map(fits).collect::<String>());
        let is_taken = |variable: &String| variables.values().any(|known| known == variable);
        // `a/b` and `a_b` read alike.
        let variable = std::iter::once(plain.clone())
            .chain((2..).map(|number| format!("{plain}_{number}")))
            .find(|variable| !is_taken(variable));
        variables.extend(variable.map(|variable| (name.to_owned(), variable)));
    }
    variables
}

struct Script {
    text: String,
    variables: BTreeMap<String, String>,
    dialect: Dialect,
    /// Words and environment of the native programs so far.
    started: Vec<(Vec<String>, String)>,
}

impl Script {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A comment: whatever is in it, it ends with the line.
    fn comment(&mut self, text: &str) {
        let text = render::printable(text).replace(['\n', '\t'], "\u{fffd}");
        let line = format!("# {text}");
        self.line(line.trim_end());
    }

    fn introduce(&mut self, runbook: &Runbook) {
        let engine = self.dialect.program();
        self.line("#!/bin/sh");
        self.comment(&format!(
            "Runbook of the node {}: recreates every service that mcrun has recorded, without",
            runbook.node
        ));
        self.comment(&format!(
            "mcrun, by {engine} and sh alone. Start it as the user whose services they are: sh {}",
            super::NAME
        ));
        self.comment("");
        if matches!(self.dialect, Dialect::Podman) {
            self.comment("Where podman has lost its database, ORPHANS=end has it end what still runs of each container first.");
        }
        self.comment("What runs is left as it is; volumes and images are taken as they are. It ends with 1 when something is");
        self.comment("left to be done by hand. mcrun writes it anew whenever its registry changes: changes made here are lost.");
        let names: Vec<&str> = runbook.services.iter().map(|service| service.name.as_str()).collect();
        self.comment("");
        self.comment(&match names.is_empty() {
            true => "No service is recorded.".to_owned(),
            false => format!("Services, in this order: {}.", names.join(", ")),
        });
        if !self.variables.is_empty() {
            self.comment("Secrets are not in it. It takes these from its environment:");
            for (name, variable) in self.variables.clone() {
                self.comment(&format!("  {variable}  the secret `{name}`"));
            }
        }
        self.line("");
        self.text.push_str(&HEAD.replace("ENGINE", engine));
        self.line("");
        self.text.push_str(if matches!(self.dialect, Dialect::Podman) { ORPHANS } else { NO_ORPHANS });
        let has_image = |container: &Container| {
            container.recorded.as_ref().is_ok_and(|recorded| recorded.spec.image.is_some())
        };
        if runbook.services.iter().flat_map(|service| &service.containers).any(has_image) {
            self.line("");
            self.line(&format!("command -v {engine} >/dev/null || {{"));
            self.line(&format!("    say 'there is no {engine} here' >&2"));
            self.line("    exit 1");
            self.line("}");
        }
    }

    fn service(&mut self, service: &Service) {
        self.line("");
        let version =
            service.version.as_deref().map(|version| format!(", version {version}")).unwrap_or_default();
        self.comment(&format!("== {}{version}, recorded {} ==", service.name, render::rfc3339(service.at)));
        for route in &service.routes {
            self.comment(&format!("route {route}"));
        }
        if service.containers.is_empty() {
            self.comment("its record has no containers");
        }
        for container in &service.containers {
            self.container(container);
        }
    }

    fn container(&mut self, container: &Container) {
        if let Err(error) = self.made(container) {
            let problem = format!("{}: left out: {}: {}", container.name, error.code, error.message);
            self.comment(&problem);
            self.trouble(&problem);
        }
    }

    fn made(&mut self, container: &Container) -> Result<()> {
        let spec = &container.recorded.as_ref().map_err(Clone::clone)?.spec;
        match spec.image {
            Some(_) => self.image(spec, &command_line::of_image(spec, self.dialect)?),
            None => self.native(spec, &command_line::of_program(spec)?),
        }
        Ok(())
    }

    fn trouble(&mut self, problem: &str) {
        let problem = render::printable(problem).replace(['\n', '\t'], "\u{fffd}");
        let line = format!("trouble {}", quoted(&problem));
        self.line(&line);
    }

    fn image(&mut self, spec: &Spec, made: &CommandLine) {
        self.comment(&format!("{}: image {}", spec.name, spec.image.as_deref().unwrap_or_default()));
        self.volumes(spec);
        let mut condition = format!("if is_new {}", quoted(&spec.name));
        if !made.paths.is_empty() {
            let _ = write!(condition, " && has_paths {} {}", quoted(&spec.name), joined(&made.paths));
        }
        self.line(&format!("{condition}; then"));
        self.secrets(spec, &made.secrets, None);
        if let Some(network) = &made.network {
            self.line(&format!("    network {}", quoted(network)));
        }
        let parts: Vec<String> = made.parts.iter().map(|part| joined(part)).collect();
        self.line(&format!("    {} >/dev/null", parts.join(" \\\n        ")));
        self.line(&format!("    made {} $?", quoted(&spec.name)));
        self.line("fi");
    }

    fn native(&mut self, spec: &Spec, native: &Native) {
        self.comment(&format!("{}: a native program", spec.name));
        self.volumes(spec);
        for lack in &native.lacks {
            self.comment(&format!("without mcrun it lacks {lack}"));
        }
        let mut words = vec!["env".to_owned(), "-i".to_owned(), "--".to_owned()];
        words.extend(native.env.iter().map(|(name, value)| format!("{name}={value}")));
        words.extend(native.argv.iter().cloned());
        if let Some((user, group)) = native.user {
            let become_user =
                [&*format!("--reuid={user}"), &*format!("--regid={group}"), "--clear-groups", "--"];
            let setpriv = std::iter::once("setpriv").chain(become_user);
            words.splice(0..0, setpriv.map(str::to_owned));
        }
        if !native.obstacles.is_empty() {
            let why = native.obstacles.join(", and ");
            self.comment(&format!("not started here, because {why}; its command line is:"));
            self.comment(&joined(&words));
            self.trouble(&format!("{}: not started: {why}; its command line is in this file", spec.name));
            return;
        }
        let variables: Vec<String> =
            native.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let told = (native.argv.clone(), variables.join("\n"));
        let count = 1 + self.started.iter().filter(|known| **known == told).count();
        self.line(&format!(
            "if is_idle {} {count} {} {}; then",
            quoted(&spec.name),
            quoted(&told.1),
            joined(&native.argv)
        ));
        self.started.push(told);
        let owner = native.user.map(|(user, group)| format!("{user}:{group}"));
        self.secrets(spec, &native.secrets, owner.as_deref());
        self.line(&format!(
            "    start {} {} {}",
            quoted(&spec.name),
            quoted(&native.workdir),
            joined(&words)
        ));
        self.line("fi");
    }

    fn volumes(&mut self, spec: &Spec) {
        if !spec.volumes.is_empty() {
            self.comment(&format!("{}: volumes {}", spec.name, spec.volumes.join(" ")));
        }
    }

    /// Secrets that are not given end the script here; those that are become files.
    fn secrets(&mut self, spec: &Spec, files: &[SecretFile], owner: Option<&str>) {
        for file in files {
            let mut value = String::new();
            for part in &file.secret.parts {
                match part {
                    Part::Text(text) => value.push_str(&quoted(text)),
                    Part::Named { name, .. } => {
                        let Some(variable) = self.variables.get(name).cloned() else { continue };
                        self.line(&format!(
                            "    [ -n \"${{{variable}-}}\" ] || lacks {} {} {variable}",
                            quoted(&spec.name),
                            quoted(&render::printable(name))
                        ));
                        let _ = write!(value, "\"${variable}\"");
                    }
                }
            }
            if value.is_empty() {
                value = quoted("");
            }
            let owner = owner.map(|owner| format!(" {owner}")).unwrap_or_default();
            self.line(&format!("    hand {} {value}{owner}", quoted(&file.path.to_string_lossy())));
        }
    }
}
