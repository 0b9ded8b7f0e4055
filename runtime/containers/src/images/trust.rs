//! Owns whom connections to registries trust: the system's authorities, those that the engine trusts for one registry,
//! and the one that a script names.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use effect::{Code, Error, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// The file that mcrun adds to an engine's folder.
const FILE: &str = "mcrun.crt";
const LARGEST: u64 = 1 << 20;

/// What a script's `ca` names, read once.
#[derive(Clone)]
pub(super) struct Authority {
    path: PathBuf,
    pem: Vec<u8>,
}

impl Authority {
    /// Reads the file and checks that it has certificates.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let wrong = |cause: String| {
            Error::new(
                Code::Argument,
                format!("field `ca`: `{}` is not a file of certificates", path.display()),
            )
            .because(cause)
        };
        let metadata = fs::metadata(path).map_err(|cause| wrong(cause.to_string()))?;
        if !metadata.is_file() || metadata.len() > LARGEST {
            return Err(wrong("it is no file, or larger than 1 MiB".to_owned()));
        }
        let pem = fs::read(path).map_err(|cause| wrong(cause.to_string()))?;
        let authority = Self { path: path.to_owned(), pem };
        match certificates(&authority.pem) {
            Ok(found) if found.is_empty() => Err(wrong("it contains none in PEM".to_owned())),
            Ok(_) => Ok(authority),
            Err(cause) => Err(wrong(cause)),
        }
    }

    /// Whether an engine that looks into `folder` trusts it already.
    pub(super) fn is_in(&self, folder: &Path) -> bool {
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        files
            .map(|file| file.path())
            .any(|path| is_authority(&path) && fs::read(path).is_ok_and(|pem| pem == self.pem))
    }

    /// Puts it where the engine looks.
    pub(super) fn put_into(&self, folder: &Path) -> Result<()> {
        let failed = |cause: std::io::Error| {
            Error::new(
                Code::FileFailed,
                format!("the authority of `ca` cannot be put into `{}`", folder.display()),
            )
            .because(cause)
            .hint(format!("put `{}` there by hand, as root", self.path.display()))
        };
        if self.is_in(folder) {
            return Ok(());
        }
        fs::DirBuilder::new().mode(0o755).recursive(true).create(folder).map_err(failed)?;
        // Under another name first: the engine must never read half a file.
        let draft = folder.join(format!("mcrun-{}.draft", std::process::id()));
        fs::write(&draft, &self.pem).map_err(failed)?;
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o644)).map_err(failed)?;
        fs::rename(&draft, folder.join(FILE)).map_err(failed)
    }
}

/// The file that [`Authority::put_into`] writes.
pub(super) fn file_in(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// The settings of a connection to a registry, for which the engine looks into `folder`.
pub(super) fn config(folder: &Path, authority: Option<&Authority>) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path());
    let of_engine = files.filter(|path| is_authority(path)).filter_map(|path| fs::read(path).ok());
    for pem in of_engine.chain(authority.map(|authority| authority.pem.clone())) {
        // What the engine's folder has besides certificates is the engine's matter.
        roots.add_parsable_certificates(certificates(&pem).unwrap_or_default());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(Code::Internal, "TLS cannot be set up").because(error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn is_authority(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind == "crt")
        && fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= LARGEST)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|cause| cause.to_string())
}
