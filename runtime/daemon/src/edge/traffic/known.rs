//! Owns what is known of routes, certificates and proofs, as they are recorded, and why a route is not served as it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use certs::Certificate;
use certs::key::Key as PrivateKey;
use effect::{Code, Error, Result, Sealer, Timestamp};
use routes::embedded::{Changed, Proof};
use routes::{Key, Material, Mode, Standing};
use serde::{Deserialize, Serialize};

/// A route as it is recorded.
pub(super) struct Row {
    pub(super) record: String,
    pub(super) read: Result<Standing>,
    /// Why it is not served; what was served before is.
    pub(super) problem: Option<Error>,
}

/// Everything that is known.
#[derive(Default)]
pub(super) struct Known {
    routes: BTreeMap<Key, Row>,
    certificates: HashMap<String, String>,
    proofs: HashMap<String, (Proof, Timestamp)>,
    /// How many routes each port has.
    ports: BTreeMap<u16, usize>,
}

/// What changes touch.
#[derive(Default)]
pub(super) struct Touched {
    pub(super) routes: BTreeSet<Key>,
    pub(super) proofs: BTreeSet<String>,
}

/// What is kept for a start without the database: rows as they are recorded, keys sealed.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Rows {
    pub(super) routes: BTreeMap<String, String>,
    pub(super) certificates: BTreeMap<String, String>,
}

impl Known {
    /// Takes what was written.
    pub(super) fn note(&mut self, changes: Vec<Changed>) -> Touched {
        let mut touched = Touched::default();
        let mut certificates = BTreeSet::new();
        for change in changes {
            match change {
                Changed::Certificate(id, record) => {
                    let before = match record {
                        Some(record) if self.certificates.get(&id) == Some(&record) => continue,
                        Some(record) => self.certificates.insert(id.clone(), record),
                        None => self.certificates.remove(&id),
                    };
                    drop(before);
                    certificates.insert(id);
                }
                Changed::Proof(id, proof) => {
                    match proof {
                        Some(proof) => drop(self.proofs.insert(id.clone(), proof)),
                        None => drop(self.proofs.remove(&id)),
                    }
                    touched.proofs.insert(id);
                }
                Changed::Route(key, record) => {
                    if self.note_route(&key, record) {
                        touched.routes.insert(key);
                    }
                }
            }
        }
        if !certificates.is_empty() {
            let uses = |row: &Row| row.certificate().is_some_and(|id| certificates.contains(id));
            touched
                .routes
                .extend(self.routes.iter().filter(|(_, row)| uses(row)).map(|(key, _)| key.clone()));
        }
        touched
    }

    /// False where nothing changes.
    fn note_route(&mut self, key: &Key, record: Option<String>) -> bool {
        let Some(record) = record else {
            let Some(_) = self.routes.remove(key) else { return false };
            if let Some(number) = self.ports.get_mut(&key.listen) {
                *number -= 1;
                if *number == 0 {
                    self.ports.remove(&key.listen);
                }
            }
            return true;
        };
        if self.routes.get(key).is_some_and(|row| row.record == record) {
            return false;
        }
        let read = read(key, &record);
        if self.routes.insert(key.clone(), Row { record, read, problem: None }).is_none() {
            *self.ports.entry(key.listen).or_default() += 1;
        }
        true
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Row> {
        self.routes.get(key)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.routes.keys()
    }

    pub(super) fn certificates(&self) -> impl Iterator<Item = &String> {
        self.certificates.keys()
    }

    pub(super) fn proof(&self, id: &str) -> Option<&(Proof, Timestamp)> {
        self.proofs.get(id)
    }

    /// Whether any route is recorded at a port.
    pub(super) fn has_port(&self, port: u16) -> bool {
        self.ports.contains_key(&port)
    }

    /// Notes why a route is not served as it is recorded, or that it is. Whether that is another reason than before.
    pub(super) fn tell(&mut self, key: &Key, problem: Option<Error>) -> bool {
        let Some(row) = self.routes.get_mut(key) else { return true };
        let said = |problem: &Option<Error>| problem.as_ref().map(|error| error.message.clone());
        let is_news = said(&row.problem) != said(&problem);
        row.problem = problem;
        is_news
    }

    /// Routes whose port could not be had: it may be free by now.
    pub(super) fn waiting(&self) -> BTreeSet<Key> {
        let waits = |row: &Row| row.problem.as_ref().is_some_and(|error| error.code == Code::RoutePort);
        self.routes.iter().filter(|(_, row)| waits(row)).map(|(key, _)| key.clone()).collect()
    }

    /// The certificate that a route shows, with its key.
    ///
    /// # Errors
    /// `MC-E008` where there is none, and where it cannot be read or its key not opened.
    pub(super) fn material(&self, standing: &Standing, sealer: Option<&Sealer>) -> Result<Option<Material>> {
        let Some(id) = shown(standing) else { return Ok(None) };
        let record = self.certificates.get(id).ok_or_else(|| {
            Error::new(Code::CertificateUnknown, format!("there is no certificate `{id}`"))
                .hint("`mcrun certs list` shows those that there are")
        })?;
        let sealer = sealer.ok_or_else(|| {
            Error::new(Code::StateUnusable, "the key that seals certificates' keys cannot be read")
        })?;
        open(record, sealer).map(Some)
    }

    /// What is kept: routes, and the certificates that they show.
    pub(super) fn rows(&self) -> Rows {
        let routes: BTreeMap<String, String> =
            self.routes.iter().map(|(key, row)| (key.to_string(), row.record.clone())).collect();
        let shown: BTreeSet<&String> = self.routes.values().filter_map(Row::certificate).collect();
        let certificates = shown.into_iter().filter_map(|id| {
            let record = self.certificates.get(id)?;
            Some((id.clone(), record.clone()))
        });
        Rows { routes, certificates: certificates.collect() }
    }
}

impl Row {
    fn certificate(&self) -> Option<&String> {
        self.read.as_ref().ok().and_then(shown)
    }
}

/// The certificate that a route shows.
fn shown(standing: &Standing) -> Option<&String> {
    standing.route.cert.as_ref().filter(|_| standing.route.mode == Mode::L7)
}

fn read(key: &Key, record: &str) -> Result<Standing> {
    let broken = || Error::new(Code::JournalBroken, format!("the recorded route `{key}` cannot be read"));
    let standing: Standing = serde_json::from_str(record).map_err(|error| broken().because(error))?;
    if standing.route.key() == *key {
        Ok(standing)
    } else {
        Err(broken().because(format!("it says that it is `{}`", standing.route.key())))
    }
}

fn open(record: &str, sealer: &Sealer) -> Result<Material> {
    let certificate: Certificate = serde_json::from_str(record).map_err(|error| {
        Error::new(Code::JournalBroken, "a recorded certificate cannot be decoded").because(error)
    })?;
    let pem = sealer.open_hidden(&certificate.key)?;
    let key = PrivateKey::from_pem(&String::from_utf8_lossy(&pem))?;
    Ok(Material { chain: certificate.chain_der()?, key: key.pair().serialize_der().into() })
}
