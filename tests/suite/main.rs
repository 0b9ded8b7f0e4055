//! The whole program, from the outside.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod adopt;
mod approvals;
mod audit;
mod backups;
mod boot;
mod branches;
mod certs;
mod check;
mod checkpoints;
mod codes;
mod crash;
mod daemon;
mod definitions;
mod deploys_with_routes;
mod docs;
mod doubt;
mod drift;
mod elsewhere;
mod errors;
mod errors_of_state;
mod events;
mod fuzz_seeds;
mod harness;
mod history;
mod hostile;
mod identity;
mod images;
mod inside;
mod interrupt;
mod kit;
mod leaks;
mod leases;
mod main_job;
mod malformed;
mod malformed_files;
mod malformed_texts;
mod metacircular;
mod monitors;
mod names;
mod on_docker;
mod on_podman;
mod operate;
mod other_authorities;
mod packages;
mod passkeys;
mod pebble;
mod plan_equals_apply;
mod playbook_files;
mod playbooks;
mod policy;
mod processes;
mod proofs;
mod registry;
mod retention;
mod runbook;
mod sandbox;
mod saved_plans;
mod sealed;
mod secrets;
mod serve;
mod serve_life;
mod service;
mod signed_in;
mod strategies;
mod terminal;
mod traffic;
mod triggers;
mod undo;
mod undo_containers;
mod undo_trees;
mod waiting;
mod watched;

/// Every file here is a module of this binary: a forgotten one would be a test that never runs.
#[test]
fn no_file_is_forgotten() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/suite");
    let main = include_str!("main.rs");
    let files = std::fs::read_dir(folder).expect("the folder of this file").flatten();
    let modules = files.filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".rs")?.to_owned()));
    let forgotten: Vec<String> =
        modules.filter(|module| module != "main" && !main.contains(&format!("mod {module};\n"))).collect();
    assert_eq!(forgotten, Vec::<String>::new(), "files that are no module of main.rs");
}
