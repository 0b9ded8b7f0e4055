//! Owns the countries of addresses, from a file in MaxMind's format that is read again when it was changed.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use effect::{Code, Error, Result};
use maxminddb::Reader;
use serde::Deserialize;

/// A file is no bigger.
const BIGGEST: u64 = 1 << 30;

/// The file, as it was last read.
pub(crate) struct Countries {
    path: PathBuf,
    reader: ArcSwap<Reader<Vec<u8>>>,
    /// When what was last looked at was written, and how long it was.
    seen: Mutex<Option<(SystemTime, u64)>>,
}

impl std::fmt::Debug for Countries {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Countries").field("path", &self.path).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    country: Option<Country<'a>>,
}

#[derive(Deserialize)]
struct Country<'a> {
    iso_code: Option<&'a str>,
}

fn stamp(path: &std::path::Path) -> std::io::Result<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.modified()?, metadata.len()))
}

fn read(path: &std::path::Path) -> Result<Reader<Vec<u8>>, String> {
    let (_, length) = stamp(path).map_err(|error| error.to_string())?;
    if length > BIGGEST {
        return Err("it is bigger than 1 GiB".into());
    }
    let octets = std::fs::read(path).map_err(|error| error.to_string())?;
    Reader::from_source(octets).map_err(|error| error.to_string())
}

impl Countries {
    /// Reads the file.
    ///
    /// # Errors
    /// `MC-U002` where it cannot be read or is something else.
    pub(crate) fn open(path: PathBuf) -> Result<Arc<Self>> {
        let reader = read(&path).map_err(|why| {
            let message = format!("countries cannot be looked up in `{}`", path.display());
            Error::new(Code::Config, message).because(why)
        })?;
        let seen = Mutex::new(stamp(&path).ok());
        Ok(Arc::new(Self { path, reader: ArcSwap::from_pointee(reader), seen }))
    }

    /// Reads the file again if it was changed. What was read before stays where it is no longer good.
    pub(crate) fn refresh(&self) {
        let Ok(now) = stamp(&self.path) else { return };
        let before = self.seen.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
        if before == Some(now) {
            return;
        }
        match read(&self.path) {
            Ok(reader) => self.reader.store(Arc::new(reader)),
            Err(why) => {
                let file = self.path.display();
                tracing::warn!(%file, why, "countries are still looked up in what the file was before");
            }
        }
    }

    /// The two letters of the country in which `address` is.
    pub(crate) fn of(&self, address: IpAddr) -> Option<String> {
        let reader = self.reader.load();
        let record: Record<'_> = reader.lookup(address).ok()?.decode().ok()??;
        record.country?.iso_code.map(ToOwned::to_owned)
    }
}
