//! Generates what `proto/` describes, without protoc.

use std::error::Error;
use std::path::Path;

use prost::Message as _;

/// A file for each service.
const SERVICES: [&str; 9] =
    ["approvals", "daemon", "documents", "events", "identity", "playbooks", "routes", "runs", "services"];

fn main() -> Result<(), Box<dyn Error>> {
    // Asked when it runs: where it was compiled may be another checkout.
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    let descriptors =
        protox::compile(SERVICES.map(|name| folder.join(format!("mcrun/v1/{name}.proto"))), [&folder])?;
    tell_cargo(&folder);
    let encoded = Path::new(&std::env::var("OUT_DIR")?).join("descriptors.bin");
    std::fs::write(encoded, descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Our own transport stands on both sides: hyper with our limits, and rustls as everywhere else.
        .build_transport(false)
        // A message that is compared is encoded in one way only.
        .btree_map(".mcrun.v1.SubmitRunRequest")
        .compile_fds(descriptors)?;
    Ok(())
}

#[allow(clippy::disallowed_macros, reason = "cargo reads what a build script prints")]
fn tell_cargo(folder: &Path) {
    println!("cargo:rerun-if-changed={}", folder.join("mcrun").display());
}
