//! Compiles our side of Luau's analysis, which the crate `luau-analyze` builds: that crate checks single files, this shim
//! gives the same analysis several modules that require one another.

use std::path::PathBuf;
use std::process::Command;

#[expect(clippy::disallowed_macros, reason = "this is how a build script speaks with Cargo")]
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=shim/modules.cpp");
    let luau = analysis_folder().join("luau");
    let mut build = cc::Build::new();
    // The same settings as `luau-analyze` builds with: both sides share the layout of its classes.
    build
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .define("LUAI_MAXCSTACK", "1000000")
        .define("LUA_VECTOR_SIZE", "3")
        .define("LUA_API", "extern \"C\"")
        .define("LUACODE_API", "extern \"C\"");
    if cfg!(debug_assertions) {
        build.define("LUAU_ENABLE_ASSERT", None);
    }
    for part in ["Analysis", "Config", "VM", "Compiler", "Ast", "Common"] {
        build.include(luau.join(part).join("include"));
    }
    build.file("shim/modules.cpp").compile("mcrun_check_modules");
}

/// Where Cargo keeps the sources of `luau-analyze`.
#[expect(clippy::disallowed_methods, reason = "a build script may ask Cargo")]
fn analysis_folder() -> PathBuf {
    let cargo = std::env::var_os("CARGO").expect("Cargo sets it for build scripts");
    let answer = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--offline", "--locked", "--filter-platform"])
        .arg(std::env::var_os("TARGET").expect("Cargo sets it for build scripts"))
        .output()
        .expect("Cargo starts");
    assert!(answer.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&answer.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&answer.stdout).expect("Cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("Cargo lists the packages");
    let package =
        packages.iter().find(|package| package["name"] == "luau-analyze").expect("it is a dependency");
    let manifest = PathBuf::from(package["manifest_path"].as_str().expect("a package has a manifest"));
    manifest.parent().expect("a manifest lies in a folder").to_owned()
}
