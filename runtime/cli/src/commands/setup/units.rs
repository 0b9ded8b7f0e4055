//! Owns the units as they are written for one machine: those of `deploy/systemd`, with this machine's paths and user.

use super::{Places, STATE, UNITS};

/// What every file that setup wrote begins with.
pub(super) const MARK: &str = "# Written by `mcrun setup`. Own settings: `systemctl edit`.\n";
/// What makes the folder of the socket.
pub(super) const FOLDERS: &str = include_str!("../../../../../deploy/systemd/tmpfiles.conf");
const GROUP: &str = include_str!("../../../../../deploy/systemd/sysusers.conf");
const DAEMON: &str = include_str!("../../../../../deploy/systemd/mcrun.service");
const SOCKET: &str = include_str!("../../../../../deploy/systemd/mcrun.socket");
const EDGE: &str = include_str!("../../../../../deploy/systemd/mcrun-edge.service");
const PLATFORM: &str = include_str!("../../../../../deploy/systemd/mcrun-boot.service");
/// The units that a boot starts.
const ENABLED: [&str; 4] = [SOCKET_UNIT, EDGE_UNIT, "mcrun.service", PLATFORM_UNIT];
pub(super) const SOCKET_UNIT: &str = "mcrun.socket";
const EDGE_UNIT: &str = "mcrun-edge.service";
const PLATFORM_UNIT: &str = "mcrun-boot.service";
/// Where [`PLATFORM`] looks for the boot script.
const SCRIPTS: &str = "/etc/mcrun/scripts/";
/// The folder that [`FOLDERS`] has made, and the socket that its unit listens at.
pub(super) const FOLDER: &str = "/run/mcrun";
pub(super) const LISTEN: &str = "/run/mcrun/api.sock";
const EXAMPLE: &str = include_str!("../../../../../deploy/mcrun.toml");
/// What the units of `deploy/systemd` start.
const COMMAND: &str = "/usr/local/bin/mcrun --state /var/lib/mcrun --config /etc/mcrun/mcrun.toml";

/// One unit.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) path: String,
    pub(super) text: String,
}

/// The configuration of a machine that has none: the example, with the socket that its unit listens at.
pub(super) fn config() -> String {
    let is_on = |line: &str| {
        let key = line.split('=').next().unwrap_or_default();
        ["#[daemon.api]", "#socket ", "#group "].contains(&key)
    };
    let mut within = false;
    let switch = |line: &str| {
        within = if line.starts_with("#[") { line == "#[daemon.api]" } else { within };
        let line = if within && is_on(line) { &line[1..] } else { line };
        format!("{line}\n")
    };
    EXAMPLE.lines().map(switch).collect()
}

/// Whether systemd listens for the daemon: only where the configuration names that very socket.
fn has_socket(places: &Places) -> bool {
    places.socket.as_deref().is_none_or(|socket| socket == std::path::Path::new(LISTEN))
}

/// The units that a boot starts on this machine.
pub(super) fn enabled(places: &Places) -> Vec<&'static str> {
    ENABLED.into_iter().filter(|unit| *unit != SOCKET_UNIT || has_socket(places)).collect()
}

/// Those that are started at once, in this order: an edge comes before the daemon, which would have one started. The
/// platform is up, or nobody has asked for it yet.
pub(super) fn started(places: &Places) -> Vec<&'static str> {
    let starts = |unit: &&str| *unit != PLATFORM_UNIT && (*unit != EDGE_UNIT || places.has_edge);
    enabled(places).into_iter().filter(starts).collect()
}

/// Every unit.
pub(super) fn all(places: &Places) -> Vec<Unit> {
    let mut named = vec![("mcrun.service", DAEMON), (EDGE_UNIT, EDGE), (PLATFORM_UNIT, PLATFORM)];
    if has_socket(places) {
        named.insert(1, (SOCKET_UNIT, SOCKET));
    }
    let unit = |(name, text)| Unit { path: format!("{UNITS}/{name}"), text: fitted(text, places) };
    named.into_iter().map(unit).collect()
}

/// What makes the group, and the user where it is not root.
pub(super) fn users(places: &Places) -> String {
    match places.user.as_str() {
        "root" => GROUP.to_owned(),
        user => format!("{GROUP}u {user} - \"mcrun\" {}\nm {user} mcrun\n", places.state.display()),
    }
}

/// A unit with this machine's paths and user.
fn fitted(text: &str, places: &Places) -> String {
    let (program, state, config) =
        (places.program.display(), places.state.display(), places.config.display());
    let mut text = text.replace(COMMAND, &format!("{program} --state {state} --config {config}"));
    if let Some(folder) = places.config.parent() {
        text = text.replace(SCRIPTS, &format!("{}/scripts/", folder.display()));
    }
    if !has_socket(places) {
        text = without(&text, &["Also="]).replace(" mcrun.socket", "");
    }
    if places.state.as_os_str() != STATE {
        // systemd makes folders beneath /var/lib only; this one is there by the time that the unit is.
        text = without(&text, &["StateDirectory=", "StateDirectoryMode="]);
        text = text.replace("[Service]\n", &format!("RequiresMountsFor={state}\n\n[Service]\n"));
        text = text.replace("ProtectSystem=strict", &format!("ProtectSystem=strict\nReadWritePaths={state}"));
    }
    if places.user != "root" {
        let user = &places.user;
        let own = format!("User={user}\nGroup=mcrun\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n");
        text = text.replace("ExecStart=", &format!("{own}ExecStart="));
        text = text.replace("SocketUser=root", &format!("SocketUser={user}"));
    }
    format!("{MARK}{text}")
}

fn without(text: &str, keys: &[&str]) -> String {
    let stays = |line: &&str| !keys.iter().any(|key| line.starts_with(key));
    text.lines().filter(stays).flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(state: &str, user: &str) -> (Places, [Unit; 4]) {
        let places = Places {
            program: "/opt/mcrun/bin/mcrun".into(),
            state: state.into(),
            config: "/etc/mcrun/other.toml".into(),
            user: user.to_owned(),
            socket: None,
            has_edge: false,
        };
        let units = all(&places).try_into().unwrap();
        (places, units)
    }

    #[test]
    fn units_start_the_program_that_is_there_with_its_own_places() {
        let (_, units) = units("/srv/mcrun", "root");
        for unit in &units {
            assert!(unit.text.starts_with(MARK));
            assert!(
                !unit.text.contains("/var/lib/mcrun") && !unit.text.contains("/usr/local"),
                "{}",
                unit.text
            );
        }
        let [daemon, _, edge, boot] = &units;
        let start = "ExecStart=/opt/mcrun/bin/mcrun --state /srv/mcrun --config /etc/mcrun/other.toml";
        for unit in [daemon, edge] {
            assert!(
                unit.text.contains(start) && unit.text.contains("RequiresMountsFor=/srv/mcrun"),
                "{}",
                unit.text
            );
            assert!(!unit.text.contains("StateDirectory"), "{}", unit.text);
        }
        assert!(edge.text.contains("ReadWritePaths=/srv/mcrun"));
        assert!(boot.text.contains(start) && boot.text.contains("--no-input boot"), "{}", boot.text);
    }

    #[test]
    fn systemd_listens_only_where_the_configuration_says_so() {
        let (mut places, _) = units(STATE, "root");
        places.socket = Some(format!("{STATE}/daemon.sock").into());
        assert!(all(&places).iter().all(|unit| !unit.path.ends_with(".socket")));
        assert!(!enabled(&places).contains(&SOCKET_UNIT));
        assert!(all(&places).iter().all(|unit| !unit.text.contains(SOCKET_UNIT)));
        places.socket = Some(LISTEN.into());
        assert!(enabled(&places).contains(&SOCKET_UNIT));
        assert!(!started(&places).contains(&EDGE_UNIT) && enabled(&places).contains(&EDGE_UNIT));
        places.has_edge = true;
        assert!(started(&places).contains(&EDGE_UNIT) && !started(&places).contains(&PLATFORM_UNIT));
        let config = config();
        assert!(
            config.contains("\n[daemon.api]\n") && config.contains(&format!("\nsocket = \"{LISTEN}\"\n"))
        );
        assert!(config.contains("\ngroup = \"mcrun\"\n") && config.contains("\n#mode = "));
        assert_eq!(config.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count(), 3);
    }

    #[test]
    fn another_user_is_made_and_owns_what_it_needs() {
        let (places, [daemon, socket, edge, boot]) = units(STATE, "operator");
        assert!(users(&places).contains("u operator - \"mcrun\" /var/lib/mcrun\nm operator mcrun\n"));
        assert!(boot.text.contains("User=operator"), "{}", boot.text);
        for unit in [daemon, edge] {
            assert!(unit.text.contains("User=operator\nGroup=mcrun\n"), "{}", unit.text);
            assert!(unit.text.contains("StateDirectory=mcrun"), "{}", unit.text);
        }
        assert!(socket.text.contains("SocketUser=operator"));
    }
}
