//! A real server of OpenSSH on a port of loopback, with its own keys and configuration, and a client that signs in.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::json;

use crate::bench::{Bench, Script, public_key};

/// The name that the host's certificate bears.
pub(crate) const HOST: &str = "host.mcrun.test";

pub(crate) struct Server {
    child: Child,
    port: u16,
    known_hosts: PathBuf,
    pub(crate) revoked: PathBuf,
}

impl Server {
    /// Starts a server that trusts the authority of `bench` and whose accounts stand for the principal `deploy`.
    pub(crate) async fn start(bench: &Bench, script: &Script) -> Self {
        let keys = script.done("certs.ssh.authorities", json!({})).await;
        let text = |field: &str| keys[field].as_str().unwrap().to_owned();
        let trusted = bench.write("trusted", text("trusted_user_ca_keys"));
        let known_hosts = bench.write("known_hosts", text("known_hosts"));
        let principals = bench.write("principals", "operator\ndeploy\n");
        let host = bench.key("host", &["-t", "ed25519"]);
        let wish = json!({ "kind": "host", "public_key": public_key(&host), "principals": [HOST] });
        let signed = script.done("certs.ssh.sign", wish).await;
        let certificate = bench.write("host-cert.pub", signed["certificate"].as_str().unwrap());
        let revoked = bench.write("revoked", "");
        let mut config = String::from(
            "UsePAM no\nStrictModes no\nPidFile none\nPermitRootLogin yes\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nAuthorizedKeysFile none\nAuthorizedPrincipalsCommand none\n",
        );
        for (word, path) in [
            ("HostKey", &host),
            ("HostCertificate", &certificate),
            ("TrustedUserCAKeys", &trusted),
            ("AuthorizedPrincipalsFile", &principals),
            ("RevokedKeys", &revoked),
        ] {
            writeln!(config, "{word} {}", path.display()).unwrap();
        }
        let config = bench.write("sshd_config", config);
        let (child, port) = listening(&config);
        Self { child, port, known_hosts, revoked }
    }

    /// Signs in and runs `echo inside`.
    #[expect(clippy::disallowed_methods, reason = "the peer is started by the test")]
    pub(crate) fn sign_in(&self, key: &Path, certificate: &str, host: &str) -> Output {
        let file = key.with_extension("cert");
        std::fs::write(&file, certificate).unwrap();
        let known_hosts = format!("UserKnownHostsFile={}", self.known_hosts.display());
        let certificate = format!("CertificateFile={}", file.display());
        let alias = format!("HostKeyAlias={host}");
        let options = [
            &known_hosts,
            &certificate,
            &alias,
            "GlobalKnownHostsFile=/dev/null",
            "StrictHostKeyChecking=yes",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "BatchMode=yes",
            "ConnectTimeout=20",
        ];
        let mut command = Command::new("ssh");
        command.args(["-F", "/dev/null", "-v", "-p", &self.port.to_string(), "-i", key.to_str().unwrap()]);
        command.args(options.iter().flat_map(|option| ["-o", option]));
        command
            .stdin(Stdio::null())
            .args([&format!("{}@127.0.0.1", account()), "echo inside"])
            .output()
            .unwrap()
    }

    #[track_caller]
    pub(crate) fn lets_in(&self, key: &Path, certificate: &str) {
        let output = self.sign_in(key, certificate, HOST);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "inside\n", "{}", errors(&output));
    }

    #[track_caller]
    pub(crate) fn keeps_out(&self, key: &Path, certificate: &str) {
        let output = self.sign_in(key, certificate, HOST);
        assert!(!output.status.success() && output.stdout.is_empty());
        assert!(errors(&output).contains("Permission denied (publickey)"), "{}", errors(&output));
    }
}

pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The account that runs the tests: nobody else could be signed in without being root.
#[expect(clippy::disallowed_methods, reason = "the system is asked by the test")]
fn account() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Starts the server on a free port; another is tried where somebody was faster to take it.
#[expect(clippy::disallowed_methods, reason = "the peer is started by the test")]
fn listening(config: &Path) -> (Child, u16) {
    // Debian's service makes it at boot; without it the server refuses to start as root.
    let _ = std::fs::create_dir_all("/run/sshd");
    for _ in 0..5 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = Command::new("/usr/sbin/sshd")
            .args([
                "-D",
                "-e",
                "-f",
                config.to_str().unwrap(),
                "-o",
                &format!("ListenAddress=127.0.0.1:{port}"),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssh-server is installed: tests/install.sh");
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while lines.read_line(&mut said).unwrap() > 0 {
            if said.contains("Server listening on") {
                // It ends when nobody takes its log.
                std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
                return (child, port);
            }
        }
        child.wait().unwrap();
        assert!(said.contains("Address already in use"), "{said}");
    }
    panic!("no port is free");
}
