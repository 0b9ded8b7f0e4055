//! Owns what is recorded of the platform's twelve containers, as the runbook has it. The scripts are compared with this.

/// An address of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Lan,
    Overlay,
    Loopback,
}

use At::{Lan, Loopback, Overlay};

/// What is recorded of one container.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) name: &'static str,
    pub(crate) image: &'static str,
    pub(crate) is_on_hosts_network: bool,
    /// Where on the host, which port there, which in the container, and the protocol.
    pub(crate) ports: &'static [(At, u16, u16, &'static str)],
    /// The folder of its volume, beneath `/srv` inside.
    pub(crate) folder: &'static str,
    pub(crate) cmd: &'static [&'static str],
    pub(crate) user: &'static str,
}

const BRIDGED: Recorded =
    Recorded { name: "", image: "", is_on_hosts_network: false, ports: &[], folder: "", cmd: &[], user: "" };

/// All of them, in boot order.
pub(crate) const CONTAINERS: [Recorded; 12] = [
    Recorded {
        name: "mcns",
        image: "mcns:v1.2.0",
        ports: &[
            (Lan, 53, 53, "tcp"),
            (Lan, 53, 53, "udp"),
            (Overlay, 53, 53, "tcp"),
            (Overlay, 53, 53, "udp"),
            (Loopback, 38443, 8443, "tcp"),
        ],
        folder: "mcns",
        cmd: &["server", "--config", "/srv/mcns/mcns.toml"],
        ..BRIDGED
    },
    Recorded {
        name: "mc-proxy",
        image: "mc-proxy:v1.2.2",
        is_on_hosts_network: true,
        folder: "mc-proxy",
        cmd: &["server", "--config", "/srv/mc-proxy/mc-proxy.toml"],
        ..BRIDGED
    },
    Recorded {
        name: "mcr-api",
        image: "mcr:v1.2.1",
        ports: &[(Loopback, 28443, 8443, "tcp"), (Loopback, 29443, 9443, "tcp")],
        folder: "mcr",
        cmd: &["server", "--config", "/srv/mcr/mcr.toml"],
        ..BRIDGED
    },
    Recorded {
        name: "mcr-web",
        image: "mcr-web:v1.3.2",
        ports: &[(Loopback, 28080, 8080, "tcp")],
        folder: "mcr",
        cmd: &["server", "--config", "/srv/mcr/mcr.toml"],
        user: "0:0",
        ..BRIDGED
    },
    Recorded {
        name: "metacrypt-api",
        image: "metacrypt:v1.3.1",
        ports: &[(Loopback, 18443, 8443, "tcp"), (Loopback, 19443, 9443, "tcp")],
        folder: "metacrypt",
        cmd: &["server", "--config", "/srv/metacrypt/metacrypt.toml"],
        ..BRIDGED
    },
    Recorded {
        name: "metacrypt-web",
        image: "metacrypt-web:v1.4.1",
        ports: &[(Loopback, 18080, 8080, "tcp")],
        folder: "metacrypt",
        cmd: &["--config", "/srv/metacrypt/metacrypt.toml"],
        ..BRIDGED
    },
    Recorded {
        name: "mcp-master",
        image: "mcp-master:v0.10.3",
        is_on_hosts_network: true,
        folder: "mcp-master",
        cmd: &["server", "--config", "/srv/mcp-master/mcp-master.toml"],
        ..BRIDGED
    },
    Recorded {
        name: "mcq",
        image: "mcq:v0.4.2",
        ports: &[(Loopback, 48080, 8080, "tcp"), (Overlay, 48080, 8080, "tcp")],
        folder: "mcq",
        cmd: &["server", "--config", "/srv/mcq/mcq.toml"],
        ..BRIDGED
    },
    Recorded {
        name: "mcdoc",
        image: "mcdoc:v0.1.0",
        ports: &[(Loopback, 38080, 8080, "tcp")],
        folder: "mcdoc",
        cmd: &["server", "--config", "/srv/mcdoc/mcdoc.toml"],
        ..BRIDGED
    },
    Recorded {
        name: "mcat",
        image: "mcat:v1.2.0",
        ports: &[(Loopback, 48116, 8443, "tcp")],
        folder: "mcat",
        cmd: &["server", "--config", "/srv/mcat/mcat.toml"],
        ..BRIDGED
    },
    Recorded {
        name: "kls",
        image: "kls:v0.2.0",
        ports: &[(Loopback, 58080, 8080, "tcp"), (Overlay, 58080, 8080, "tcp")],
        folder: "kls",
        cmd: &["-f", "/srv/kls/kls.conf"],
        ..BRIDGED
    },
    Recorded {
        name: "sgardd",
        image: "sgardd:v3.2.0",
        ports: &[(Loopback, 19473, 9473, "tcp")],
        folder: "sgard",
        cmd: &[
            "--repo",
            "/srv/sgard",
            "--authorized-keys",
            "/srv/sgard/authorized_keys",
            "--tls-cert",
            "/srv/sgard/certs/sgard.pem",
            "--tls-key",
            "/srv/sgard/certs/sgard.key",
        ],
        ..BRIDGED
    },
];
