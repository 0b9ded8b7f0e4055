//! Owns a real registry for tests: Debian's `docker-registry` on a port of its own, with TLS of an authority of its own
//! and one user; and a way to it that can be cut.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::until;

pub(crate) const USER: &str = "deploy";
pub(crate) const PASSWORD: &str = "correct horse battery";

/// The registry; dropping it ends it and takes back what an engine was told of it.
pub(crate) struct Registry {
    folder: tempfile::TempDir,
    server: Option<Child>,
    port: u16,
    gate: Gate,
}

/// The way to the registry: connections are let through until there were enough.
struct Gate {
    port: u16,
    left: Arc<AtomicUsize>,
}

impl Gate {
    fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let left = Arc::new(AtomicUsize::new(usize::MAX));
        let counter = Arc::clone(&left);
        // It ends with the process.
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let is_open = counter
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                    .is_ok();
                if let (true, Ok(onward)) = (is_open, TcpStream::connect(("127.0.0.1", target))) {
                    join(connection, onward);
                }
            }
        });
        Self { port, left }
    }
}

fn join(one: TcpStream, other: TcpStream) {
    let (back_from, back_to) =
        (other.try_clone().expect("a descriptor"), one.try_clone().expect("a descriptor"));
    std::thread::spawn(move || copy(one, other));
    std::thread::spawn(move || copy(back_from, back_to));
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut piece = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        if to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    // The other side may be gone already.
    let _ = to.shutdown(Shutdown::Write);
}

impl Registry {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let mut registry = Self { folder, server: None, port, gate: Gate::to(port) };
        registry.write_certificates();
        registry.write_users();
        let root = registry.at("data");
        let (certificate, key, users) =
            (registry.at("server.pem"), registry.at("server.key"), registry.at("users"));
        let config = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: {root} }} }}\n\
             http:\n  addr: 127.0.0.1:{port}\n  tls: {{ certificate: {certificate}, key: {key} }}\n\
             auth: {{ htpasswd: {{ realm: test, path: {users} }} }}\n"
        );
        fs::write(registry.at("config.yml"), config).expect("the folder is writable");
        registry.start();
        registry
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("temporary folders have plain names").to_owned()
    }

    fn write_certificates(&self) {
        let authority_key = rcgen::KeyPair::generate().expect("a key");
        let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("a certificate");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        authority.distinguished_name.push(rcgen::DnType::CommonName, "mcrun test authority");
        let certificate = authority.self_signed(&authority_key).expect("a certificate");
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate().expect("a key");
        let server = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a certificate");
        let server = server.signed_by(&key, &issuer).expect("a certificate");
        let write =
            |name: &str, text: String| fs::write(self.at(name), text).expect("the folder is writable");
        write("ca.pem", certificate.pem());
        write("server.pem", server.pem());
        write("server.key", key.serialize_pem());
        write("password", PASSWORD.to_owned());
        write("wrong-password", "hunter2 hunter2".to_owned());
    }

    #[expect(clippy::disallowed_methods, reason = "the suite makes the registry's list of users")]
    fn write_users(&self) {
        let made = Command::new("htpasswd").args(["-Bbn", USER, PASSWORD]).output();
        let made = made.expect("htpasswd is there: tests/install.sh installs it");
        assert!(made.status.success());
        fs::write(self.at("users"), made.stdout).expect("the folder is writable");
    }

    #[expect(clippy::disallowed_methods, reason = "the suite starts the registry")]
    pub(crate) fn start(&mut self) {
        let log = fs::File::create(self.at("log")).expect("the folder is writable");
        let server = Command::new("docker-registry")
            .args(["serve", &self.at("config.yml")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("docker-registry is there: tests/install.sh installs it");
        self.server = Some(server);
        until("the registry answers", || TcpStream::connect(("127.0.0.1", self.port)).ok());
    }

    /// Ends it; its images stay.
    pub(crate) fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // It may have ended by itself.
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Its host and port.
    pub(crate) fn name(&self) -> String {
        format!("127.0.0.1:{}", self.gate.port)
    }

    /// Lets only so many connections through from now on.
    pub(crate) fn allow(&self, connections: usize) {
        self.gate.left.store(connections, Ordering::SeqCst);
    }

    /// How many of the connections that are allowed nobody has made yet.
    pub(crate) fn left(&self) -> usize {
        self.gate.left.load(Ordering::SeqCst)
    }

    pub(crate) fn ca(&self) -> String {
        self.at("ca.pem")
    }

    /// What `mcrun.toml` says for it: the right password, a wrong one, and one that may not go there.
    pub(crate) fn secrets(&self) -> String {
        let (name, right, wrong) = (self.name(), self.at("password"), self.at("wrong-password"));
        format!(
            "[secrets.registry]\nfile = \"{right}\"\nto = [\"images:{name}\"]\n\
             [secrets.wrong]\nfile = \"{wrong}\"\nto = [\"images:{name}\"]\n\
             [secrets.elsewhere]\nfile = \"{right}\"\nto = [\"images:registry.example\"]\n"
        )
    }

    fn trust_folder(&self) -> PathBuf {
        PathBuf::from("/etc/containers/certs.d").join(self.name())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
        // Only where an engine was told to trust it.
        let _ = fs::remove_dir_all(self.trust_folder());
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}
