//! The twelve containers as definitions in a folder, brought to the registry by `sync`.

use std::fs;
use std::path::PathBuf;

use super::platform::Platform;
use super::record::{CONTAINERS, Recorded};
use super::standin;
use crate::harness::Seen;

/// What is not on the node in the beginning.
const MISSING: [&str; 2] = ["kls", "sgardd"];

fn folder(platform: &Platform) -> PathBuf {
    platform.path().join("definitions")
}

/// Writes the definition of one container, with how its image is made where `recipe` says so.
fn define(platform: &Platform, container: &Recorded, recipe: bool) {
    let Recorded { name, folder: volume, cmd, user, .. } = container;
    let image = standin::reference(container.image);
    let repository = container.image.split(':').next().expect("a name");
    let network = if container.is_on_hosts_network { "host" } else { "bridge" };
    let mut text = format!("name = \"{name}\"\n");
    if recipe {
        text += &format!("[build.images]\n{repository} = \"Dockerfile.{repository}\"\n");
        let lines =
            format!("FROM localhost/standin:v1\nENV STANDIN={repository} STANDIN_DATA=/srv/{volume}\n");
        fs::write(folder(platform).join(format!("Dockerfile.{repository}")), lines).expect("it is writable");
    }
    text += &format!(
        "[[components]]\nname = \"{name}\"\nimage = \"{image}\"\nnetwork = \"{network}\"\nrestart = \"unless-stopped\"\n\
         volumes = [\"{}:/srv/{volume}\"]\ncmd = {cmd:?}\n",
        platform.volume(volume).display(),
    );
    if !user.is_empty() {
        text += &format!("user = \"{user}\"\n");
    }
    fs::write(folder(platform).join(format!("{name}.toml")), text).expect("it is writable");
}

#[track_caller]
fn sync(platform: &Platform, code: i32, more: &[&str]) -> Seen {
    let folder = folder(platform);
    let words = ["sync", folder.to_str().expect("a plain name"), "--allow", "*"];
    platform.ends(code, &[&words[..], more].concat())
}

#[test]
fn sync_makes_what_is_missing_and_touches_nothing_before_all_images_are_there() {
    let platform = Platform::new();
    fs::create_dir_all(folder(&platform)).expect("the place is writable");
    for container in &CONTAINERS {
        define(&platform, container, container.name == "kls");
        if MISSING.contains(&container.name) || container.name == "mcat" {
            platform.engine.podman(&["rmi", &standin::reference(container.image)]);
        }
    }
    let seen = sync(&platform, 1, &["--yes"]);
    assert!(seen.stderr.contains("error[MC-C003]: 2 images are neither on this node"), "{seen}");
    for missing in ["mcat:v1.2.0", "sgardd:v3.2.0"] {
        assert!(seen.stderr.contains(&standin::reference(missing)), "{seen}");
    }
    assert_eq!(platform.engine.podman(&["ps", "--all", "--quiet"]), "");

    for container in &CONTAINERS {
        define(&platform, container, MISSING.contains(&container.name) || container.name == "mcat");
    }
    let plan = sync(&platform, 0, &["--plan"]);
    for container in &CONTAINERS {
        assert!(plan.stdout.contains(&format!("containers.ensure {}", container.name)), "{plan}");
    }
    assert!(plan.stdout.contains("images.build"), "{plan}");
    assert_eq!(platform.engine.podman(&["ps", "--all", "--quiet"]), "", "a plan does nothing");
    sync(&platform, 0, &["--yes"]);
    let running = platform.engine.podman(&["ps", "--format", "{{.Names}}"]);
    assert_eq!(running.lines().count(), CONTAINERS.len(), "{running}");
    let ids = platform.engine.podman(&["ps", "--quiet"]);
    sync(&platform, 0, &["--yes"]);
    assert_eq!(platform.engine.podman(&["ps", "--quiet"]), ids, "what is as it should be is left alone");
}
