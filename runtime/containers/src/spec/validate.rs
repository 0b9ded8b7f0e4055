//! Owns what makes a spec impossible whatever the driver: each finding names its field.

use std::collections::BTreeSet;

use effect::{Code, Error, Result};

use super::{Health, Spec};

/// The longest name that every engine takes as a host name too.
const LONGEST_NAME: usize = 63;
/// Below this engines refuse to start anything.
const LEAST_MEMORY: u64 = 4 << 20;

impl Spec {
    /// Checks what can be told without any driver.
    ///
    /// # Errors
    /// `MC-A001` naming the first field that is wrong.
    pub fn validate(&self) -> Result<()> {
        if !is_name(&self.name) {
            return Err(wrong(
                "name",
                format!(
                    "`{}` is not a name: letters, digits, `_`, `.` and `-`, beginning with a letter or digit",
                    self.name
                ),
            ));
        }
        self.validate_program()?;
        self.validate_environment()?;
        self.validate_mounts()?;
        self.validate_ports()?;
        self.validate_limits()?;
        if let Some(network) = &self.network
            && !is_name(network)
        {
            return Err(wrong("network", format!("`{network}` is not the name of a network")));
        }
        if let Some(service) = &self.service
            && !is_name(service)
        {
            return Err(wrong("service", format!("`{service}` is not a name")));
        }
        self.health.as_ref().map_or(Ok(()), validate_health)
    }

    fn validate_program(&self) -> Result<()> {
        match (&self.image, &self.exec) {
            (None, None) => return Err(wrong("image", "one of `image` and `exec` is needed")),
            (Some(_), Some(_)) => return Err(wrong("exec", "`image` and `exec` exclude each other")),
            (Some(image), None) if image.is_empty() || image.contains(char::is_whitespace) => {
                return Err(wrong("image", format!("`{image}` is not an image")));
            }
            (None, Some(argv)) => {
                let program = argv.first().map_or("", String::as_str);
                if !program.starts_with('/') {
                    return Err(wrong(
                        "exec[1]",
                        format!("`{program}` is not an absolute path of a program"),
                    ));
                }
                let probe = self
                    .health
                    .iter()
                    .filter_map(|health| health.exec.as_ref())
                    .find_map(|argv| argv.first());
                if let Some(probe) = probe.filter(|probe| !probe.starts_with('/')) {
                    return Err(wrong(
                        "health.exec[1]",
                        format!("`{probe}` is not an absolute path of a program"),
                    ));
                }
                if self.cmd.is_some() || self.entrypoint.is_some() {
                    return Err(wrong(
                        "cmd",
                        "`cmd` and `entrypoint` belong to an image; write all words into `exec`",
                    ));
                }
            }
            _ => {}
        }
        if let Some(workdir) = &self.workdir
            && !workdir.starts_with('/')
        {
            return Err(wrong("workdir", format!("`{workdir}` is not an absolute path")));
        }
        let words = [&self.exec, &self.cmd, &self.entrypoint].into_iter().flatten().flatten();
        for word in words.chain(&self.workdir).chain(&self.user).chain(&self.image) {
            if word.contains('\0') {
                return Err(wrong("exec", "a word contains a NUL byte"));
            }
        }
        Ok(())
    }

    fn validate_environment(&self) -> Result<()> {
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(wrong(&format!("env.{name}"), "not a variable: no `=` in names, no NUL bytes"));
            }
        }
        for name in self.secrets.keys() {
            let is_identifier = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if name.is_empty() || name.len() > 128 || !is_identifier {
                return Err(wrong(
                    &format!("secrets.{name}"),
                    "a secret's name has letters, digits and `_` only",
                ));
            }
            if self.env.contains_key(&format!("{name}_FILE")) {
                return Err(wrong(&format!("env.{name}_FILE"), "the secret of that name sets this variable"));
            }
        }
        for name in self.labels.keys() {
            if name.is_empty() || name.contains('\0') {
                return Err(wrong("labels", "a label's name is empty or has a NUL byte"));
            }
            if name.starts_with("mcrun.") {
                return Err(wrong(&format!("labels.{name}"), "labels beginning with `mcrun.` are reserved"));
            }
        }
        Ok(())
    }

    fn validate_mounts(&self) -> Result<()> {
        let mut targets = BTreeSet::new();
        for mount in self.mounts()? {
            if !targets.insert(mount.target.clone()) {
                return Err(wrong("volumes", format!("`{}` is mounted twice", mount.target)));
            }
        }
        if self.cap_add.iter().any(|name| name.to_ascii_uppercase().trim_start_matches("CAP_") == "ALL") {
            return Err(wrong("cap_add", "name each capability, or set `privileged = true`"));
        }
        for device in &self.devices {
            if !device.split(':').all(|part| part.starts_with('/') && !part.contains("..")) {
                return Err(wrong("devices", format!("`{device}` is not the path of a device")));
            }
        }
        Ok(())
    }

    fn validate_ports(&self) -> Result<()> {
        let mut taken = BTreeSet::new();
        for (index, port) in self.ports.iter().enumerate() {
            let field = format!("ports[{}]", index + 1);
            if port.host == 0 || port.container == 0 {
                return Err(wrong(&field, "a port is between 1 and 65535"));
            }
            if let Some(address) = &port.address
                && !address.is_empty()
                && address.parse::<std::net::IpAddr>().is_err()
            {
                return Err(wrong(&format!("{field}.address"), format!("`{address}` is not an address")));
            }
            for single in port.expand() {
                if !taken.insert((single.host, single.address, single.protocol)) {
                    return Err(wrong(&field, format!("host port {} is published twice", port.host)));
                }
            }
        }
        Ok(())
    }

    fn validate_limits(&self) -> Result<()> {
        if let Some(cpus) = self.cpus
            && !(0.01..=4096.0).contains(&cpus)
        {
            return Err(wrong("cpus", "between 0.01 and 4096"));
        }
        if let Some(memory) = self.memory
            && memory.0 < LEAST_MEMORY
        {
            return Err(wrong("memory", format!("`{memory}` is less than 4MiB, in which nothing starts")));
        }
        if let Some(signal) = &self.stop_signal
            && signal_number(signal).is_none()
        {
            return Err(wrong("stop_signal", format!("`{signal}` is not a signal such as `SIGTERM`")));
        }
        Ok(())
    }
}

fn validate_health(health: &Health) -> Result<()> {
    let kinds = [health.http.is_some(), health.tcp == Some(true), health.exec.is_some()];
    if kinds.iter().filter(|given| **given).count() != 1 {
        return Err(wrong("health", "exactly one of `http`, `tcp` and `exec` is needed"));
    }
    if let Some(path) = &health.http
        && !path.starts_with('/')
    {
        return Err(wrong("health.http", format!("`{path}` is not a path such as `/health`")));
    }
    if health.exec.as_ref().is_some_and(Vec::is_empty) {
        return Err(wrong("health.exec", "the program is missing"));
    }
    Ok(())
}

fn wrong(field: &str, problem: impl std::fmt::Display) -> Error {
    Error::new(Code::Argument, format!("{field}: {problem}"))
}

/// Whether `text` can name a container, volume, network or service.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= LONGEST_NAME
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

const SIGNALS: [(&str, i32); 12] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("WINCH", libc::SIGWINCH),
    ("PWR", libc::SIGPWR),
];

/// The number of a signal given as `SIGTERM`, `TERM`, `15` or `RTMIN+3`.
#[must_use]
pub fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        // 34 is what programs see as SIGRTMIN: glibc keeps the two below for itself.
        let offset = if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse::<i32>().ok()? };
        return (0..=30).contains(&offset).then_some(34 + offset);
    }
    SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// The name of a signal, `SIGTERM`; the bare number where it has none here.
#[must_use]
pub fn signal_name(number: i32) -> String {
    match SIGNALS.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => format!("SIG{name}"),
        None if number >= 34 => format!("SIGRTMIN+{}", number - 34),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn native() -> Spec {
        Spec { name: "a".to_owned(), exec: Some(vec!["/bin/true".to_owned()]), ..Spec::default() }
    }

    fn refusal(change: impl FnOnce(&mut Spec)) -> String {
        let mut spec = native();
        change(&mut spec);
        spec.validate().unwrap_err().message
    }

    #[test]
    fn a_minimal_spec_is_valid() {
        native().validate().unwrap();
    }

    #[test]
    fn every_refusal_names_its_field() {
        assert!(refusal(|spec| spec.name = "../x".to_owned()).starts_with("name: "));
        assert!(refusal(|spec| spec.name = "a".repeat(64)).starts_with("name: "));
        assert!(refusal(|spec| spec.exec = None).starts_with("image: "));
        assert!(refusal(|spec| spec.image = Some("x".to_owned())).starts_with("exec: "));
        assert!(refusal(|spec| spec.exec = Some(vec!["true".to_owned()])).starts_with("exec[1]: "));
        assert!(refusal(|spec| spec.workdir = Some("srv".to_owned())).starts_with("workdir: "));
        assert!(refusal(|spec| drop(spec.env.insert("A=B".into(), String::new()))).starts_with("env."));
        assert!(
            refusal(|spec| drop(spec.labels.insert("mcrun.x".into(), String::new()))).starts_with("labels.")
        );
        assert!(refusal(|spec| spec.volumes = vec!["/a".to_owned()]).starts_with("volumes[1]: "));
        assert!(
            refusal(|spec| spec.volumes = vec!["/a:/x".into(), "/b:/x/".into()]).starts_with("volumes: ")
        );
        assert!(refusal(|spec| spec.stop_signal = Some("SIGNOPE".to_owned())).starts_with("stop_signal: "));
        assert!(refusal(|spec| spec.cpus = Some(0.0)).starts_with("cpus: "));
        assert!(refusal(|spec| spec.memory = Some(effect::units::Size(1))).starts_with("memory: "));
        assert!(refusal(|spec| spec.health = Some(Health::default())).starts_with("health: "));
    }

    #[test]
    fn a_probe_beside_a_native_program_has_an_absolute_path() {
        let probe = Health { exec: Some(vec!["curl".to_owned()]), ..Health::default() };
        assert!(refusal(|spec| spec.health = Some(probe.clone())).starts_with("health.exec[1]: "));
        let mut image = Spec { exec: None, image: Some("x".to_owned()), ..native() };
        image.health = Some(probe);
        image.validate().unwrap();
    }

    #[test]
    fn signals_have_names_and_numbers() {
        assert_eq!(signal_number("SIGTERM"), Some(15));
        assert_eq!(signal_number("int"), Some(2));
        assert_eq!(signal_number("SIGRTMIN+3"), Some(37));
        assert_eq!(signal_number("SIGNOPE"), None);
        assert_eq!(signal_number("99"), None);
        assert_eq!(signal_name(15), "SIGTERM");
        assert_eq!(signal_name(37), "SIGRTMIN+3");
    }

    #[test]
    fn unknown_fields_are_refused() {
        let text = r#"{"name":"a","exec":["/bin/true"],"imgae":"x"}"#;
        assert!(serde_json::from_str::<Spec>(text).unwrap_err().to_string().contains("imgae"));
    }
}
