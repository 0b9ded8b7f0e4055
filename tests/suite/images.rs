//! Images on their way: built, pushed to a real registry, pulled, loaded and run; and what happens when that goes wrong.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::harness::{Place, Seen, data};
use crate::processes;
use crate::registry::{Registry, USER};

/// A place with podman, a registry, and a folder that can be built.
struct Bench {
    place: Place,
    registry: Registry,
}

impl Bench {
    fn new() -> Self {
        let registry = Registry::new();
        let place = Place::new();
        place.configure(&format!("[drivers]\ncontainers = \"podman\"\n{}", registry.secrets()));
        // The first command starts the engine's service, which keeps these settings.
        let conf = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/containers/tests/containers.conf");
        let seen = place.start_with(&["images"], &[("CONTAINERS_CONF", conf)]).end();
        assert_eq!(seen.code, Some(0), "{seen}");
        let bench = Self { place, registry };
        bench.write(
            "web/Containerfile",
            "FROM scratch\nARG VERSION=none\nLABEL version=$VERSION\nCOPY data /data\nCMD [\"/data/run\"]\n",
        );
        // Content of its own: tests that build the same would share layers, and remove them under one another.
        bench.write("web/data/run", &format!("content of {}\n", bench.registry.name()));
        bench
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.place.path().join("scripts").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The name of an image in the registry.
    fn image(&self, tag: &str) -> String {
        format!("{}/team/web:{tag}", self.registry.name())
    }

    /// A script with what most of them need.
    fn script(&self, body: &str) -> String {
        let head = format!(
            "local web, ca = \"{}/team/web\", \"{}\"\nlocal auth = {{ username = \"{USER}\", password = secrets.get(\"registry\") }}\n",
            self.registry.name(),
            self.registry.ca()
        );
        self.place.script("a.lua", &format!("{head}{body}\n"))
    }

    #[track_caller]
    fn ends(&self, code: i32, body: &str) -> Seen {
        let script = self.script(body);
        self.place.ends(code, &[&script, "--allow", "*"])
    }

    #[track_caller]
    fn plan(&self, body: &str) -> Value {
        let script = self.script(body);
        self.place.json(&["plan", &script, "--allow", "*", "--json"])
    }

    /// Builds and pushes `tag`, and forgets it on this node.
    #[track_caller]
    fn publish(&self, tag: &str) {
        self.ends(
            0,
            &format!(
                "images.build {{ context = \"web\", tag = web .. \":{tag}\" }}\n\
             images.push {{ image = web .. \":{tag}\", auth = auth, ca = ca }}\n\
             images.remove {{ image = web .. \":{tag}\" }}"
            ),
        );
    }

    fn names(&self) -> Vec<String> {
        let images = self.place.json(&["images", "web", "--json"]);
        // What a tag meant before stays known by its digest.
        let of_registry = |name: &&str| name.starts_with(&self.registry.name()) && !name.contains('@');
        let names = images.as_array().unwrap().iter().filter_map(|image| image["name"].as_str());
        names.filter(of_registry).map(str::to_owned).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let clean = "for _, c in containers.list {} do\n    if string.find(c.image or \"\", web, 1, true) then containers.remove { name = c.name } end\nend\n\
            for _, image in images.list {} do\n    if string.find(image.name, web, 1, true) == 1 then images.remove { image = image.name } end\nend";
        let script = self.script(clean);
        // Once more where another test's work came in between.
        for _ in 0..3 {
            if self.place.run(&[&script, "--allow", "*"]).code == Some(0) {
                break;
            }
        }
        // Started for this state directory, and it would stay for a minute.
        for service in processes::with_word(&format!("unix://{}", self.place.at("state/podman.sock"))) {
            processes::signal(service, rustix::process::Signal::TERM);
        }
    }
}

fn actions(plan: &Value) -> Vec<&str> {
    plan["steps"].as_array().unwrap().iter().map(|step| step["action"].as_str().unwrap()).collect()
}

/// The results of the newest run's effects of this name.
fn results(bench: &Bench, name: &str) -> Vec<Value> {
    let run = bench.place.newest_shown();
    let of_name = |entry: &&Value| entry["identity"]["name"] == name;
    run["entries"].as_array().unwrap().iter().filter(of_name).map(|entry| data(&entry["result"])).collect()
}

#[test]
fn an_image_is_built_pushed_pulled_and_named_by_its_digest() {
    let bench = Bench::new();
    let whole = "images.build { context = \"web\", tag = web .. \":v1\", args = { VERSION = \"1\" } }\n\
        images.push { image = web .. \":v1\", auth = auth, ca = ca }\n\
        images.tag { image = web .. \":v1\", tag = web .. \":stable\" }";
    assert_eq!(actions(&bench.plan(whole)), ["read", "create", "create", "create"]);
    assert_eq!(bench.names(), Vec::<String>::new(), "a plan changes nothing");
    bench.ends(0, whole);
    assert_eq!(actions(&bench.plan(whole)), ["read", "none", "none", "none"]);
    let pushed = results(&bench, "images.push").remove(0);
    let digest = pushed["after"]["digest"].as_str().unwrap().to_owned();
    assert_eq!(bench.names(), [bench.image("stable"), bench.image("v1")]);

    bench.ends(0, "images.remove { image = web .. \":v1\" }\nimages.remove { image = web .. \":stable\" }");
    assert_eq!(bench.names(), Vec::<String>::new());
    let ensure = "local got = images.ensure { image = web .. \":v1\", auth = auth, ca = ca }\nprint(got.after.reference)";
    let plan = bench.plan(ensure);
    assert_eq!(plan["steps"][1]["fields"][0]["after"], *digest, "the digest is known in the plan: {plan:#}");
    let seen = bench.ends(0, ensure);
    assert_eq!(seen.stdout.trim(), format!("{}@{digest}", bench.image("v1")));
    assert_eq!(actions(&bench.plan(ensure)), ["read", "none"]);
    let asked =
        bench.ends(0, "print(images.digest({ image = web .. \":v1\", auth = auth, ca = ca }).digest)");
    assert_eq!(asked.stdout.trim(), digest);
}

#[test]
fn a_tag_that_moves_is_noticed_and_a_digest_does_not_move() {
    let bench = Bench::new();
    bench.publish("v1");
    let seen = bench
        .ends(0, "print(images.ensure({ image = web .. \":v1\", auth = auth, ca = ca }).after.reference)");
    let first = seen.stdout.trim().to_owned();
    bench.write("web/data/run", "other content\n");
    // Built under another name, so that this node does not know what the tag means now.
    bench.ends(0, &format!(
        "images.build {{ context = \"web\", tag = web .. \":next\" }}\n\
         images.tag {{ image = web .. \":next\", tag = web .. \":v1\" }}\n\
         images.push {{ image = web .. \":v1\", auth = auth, ca = ca }}\n\
         images.tag {{ image = \"{first}\", tag = web .. \":v1\" }}\nimages.remove {{ image = web .. \":next\" }}"
    ));
    let newer = "images.ensure { image = web .. \":v1\", auth = auth, ca = ca }";
    let missing = "images.ensure { image = web .. \":v1\", pull = \"missing\" }";
    let exact = format!("images.ensure {{ image = \"{first}\" }}");
    assert_eq!(actions(&bench.plan(newer)), ["read", "update"]);
    assert_eq!(actions(&bench.plan(missing)), ["read", "none"]);
    assert_eq!(actions(&bench.plan(&exact)), ["read", "none"]);
    bench.ends(0, newer);
    assert_ne!(results(&bench, "images.ensure")[0]["after"]["reference"], *first);
    assert_eq!(actions(&bench.plan(&exact)), ["read", "none"], "the old content is still here by its digest");
}

#[test]
fn a_container_runs_and_records_the_digest_of_its_tag() {
    let bench = Bench::new();
    fs::copy("/bin/busybox", bench.place.path().join("scripts/web/data/run")).unwrap();
    bench.write("web/Containerfile", "FROM scratch\nCOPY data/run /bin/busybox\nENTRYPOINT [\"/bin/busybox\"]\nCMD [\"sleep\", \"1000\"]\n");
    bench.publish("v1");
    let name = format!("mcrun-test-image-{}", std::process::id());
    let body = format!(
        "images.ensure {{ image = web .. \":v1\", auth = auth, ca = ca }}\n\
         local made = containers.ensure {{ name = \"{name}\", image = web .. \":v1\", stop_timeout = \"0s\" }}\nprint(made.after.image)"
    );
    let plan = bench.plan(&body);
    assert_eq!(actions(&plan), ["read", "create", "create"], "{plan:#}");
    let seen = bench.ends(0, &body);
    let pinned = seen.stdout.trim().to_owned();
    assert!(pinned.starts_with(&format!("{}@sha256:", bench.image("v1"))), "{pinned}");
    let images: Vec<&Value> = plan["steps"][2]["fields"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|field| field["path"] == "image")
        .collect();
    assert_eq!(images[0]["after"], *pinned, "the plan knows it");
    let made = results(&bench, "containers.ensure").remove(0);
    assert_eq!(made["after"]["image"], *pinned);
    assert_eq!(made["after"]["argv"], serde_json::json!(["/bin/busybox", "sleep", "1000"]));
    assert_eq!(actions(&bench.plan(&body)), ["read", "none", "none"]);
    bench.ends(0, &format!("containers.remove {{ name = \"{name}\" }}"));
}

#[test]
fn a_name_without_version_is_refused() {
    let bench = Bench::new();
    for body in [
        "images.ensure { image = web .. \":latest\" }",
        "images.ensure { image = web }",
        "images.build { context = \"web\", tag = web }",
        "containers.ensure { name = \"web\", image = web }",
        "containers.ensure { name = \"web\", image = web .. \":latest\" }",
    ] {
        let plan = bench.plan(body);
        assert_eq!(plan["steps"][1]["error"]["code"], "MC-C020", "{body}: {plan:#}");
    }
    bench.ends(1, "images.ensure { image = web .. \":latest\" }").says(&["MC-C020", "allow_latest = true"]);
    bench
        .ends(1, "images.ensure { image = web .. \":latest\", allow_latest = true, auth = auth, ca = ca }")
        .says(&["MC-C021"]);
}

#[test]
fn wrong_credentials_are_told_from_a_wrong_name() {
    let bench = Bench::new();
    bench.publish("v1");
    let ensure = |more: &str| format!("images.ensure {{ image = web .. \":v1\", ca = ca{more} }}");
    bench.ends(1, &ensure("")).says(&["MC-C022", "auth = {"]);
    let wrong = ensure(", auth = { username = \"deploy\", password = secrets.get(\"wrong\") }");
    let seen = bench.ends(1, &wrong);
    seen.says(&["MC-C022", "user `deploy`"]);
    assert!(!format!("{seen}").contains("hunter2"), "{seen}");
    let elsewhere = ensure(", auth = { username = \"deploy\", password = secrets.get(\"elsewhere\") }");
    let script = bench.script(&elsewhere);
    bench
        .place
        .ends(4, &[&script, "--allow", "*"])
        .says(&["MC-P011", &format!("images:{}", bench.registry.name())]);
    assert_eq!(bench.plan(&elsewhere)["steps"][2]["error"]["code"], "MC-P011");
    bench.ends(0, &ensure(", auth = auth"));
    bench
        .ends(1, "images.ensure { image = web .. \":v9\", auth = auth, ca = ca }")
        .says(&["MC-C021", &format!("on this node: {}", bench.image("v1"))]);
}

#[test]
fn a_registry_of_an_unknown_authority_is_not_trusted() {
    let bench = Bench::new();
    bench.ends(1, "images.ensure { image = web .. \":v1\", auth = auth }").says(&["MC-C023", "ca = "]);
    bench
        .ends(1, "images.ensure { image = web .. \":v1\", auth = auth, ca = \"web/Containerfile\" }")
        .says(&["MC-A001", "`ca`"]);
}

#[test]
fn without_its_registry_the_image_on_the_node_is_used_and_the_run_says_so() {
    let mut bench = Bench::new();
    bench.publish("v1");
    let ensure = "local got = images.ensure { image = web .. \":v1\", auth = auth, ca = ca }\nprint(got.after.reference, got.after.cached, got.changed)";
    bench.ends(0, ensure);
    bench.registry.stop();
    let seen = bench.ends(0, ensure);
    seen.says(&["the image that is here is used", "does not answer"]);
    assert!(seen.stdout.contains("does not answer") && seen.stdout.trim().ends_with("false"), "{seen}");
    let log = bench.place.ends(0, &["logs", &bench.place.newest_id()]);
    assert!(log.stdout.contains("the image that is here is used"), "{log}");
    let asked =
        bench.ends(0, "print(images.digest({ image = web .. \":v1\", auth = auth, attempts = 1 }).cached)");
    assert!(asked.stdout.contains("does not answer"), "{asked}");
    bench.ends(1, "images.ensure { image = web .. \":v2\", auth = auth, attempts = 2 }").says(&[
        "MC-C003",
        "`mcrun images web` lists",
        &bench.image("v1"),
    ]);
    bench.registry.start();
    let seen = bench.ends(0, ensure);
    assert!(!seen.stdout.contains("does not answer"), "{seen}");
}

#[test]
fn a_registry_that_goes_away_in_the_middle_leaves_the_image_on_the_node() {
    let bench = Bench::new();
    bench.publish("v1");
    let ensure = "local got = images.ensure { image = web .. \":v1\", auth = auth, ca = ca, attempts = 2 }\nprint(got.after.id, got.after.reference, got.after.cached)";
    let first = bench.ends(0, ensure);
    bench.write("web/data/run", "other content\n");
    bench.ends(0, "images.build { context = \"web\", tag = web .. \":next\" }");
    bench.ends(0, &format!(
        "images.tag {{ image = web .. \":next\", tag = web .. \":v1\" }}\nimages.push {{ image = web .. \":v1\", auth = auth, ca = ca }}\n\
         images.tag {{ image = \"{}\", tag = web .. \":v1\" }}\nimages.remove {{ image = web .. \":next\" }}",
        first.stdout.split_whitespace().nth(1).unwrap(),
    ));
    // Enough for the question what the tag means: two for the manifest, one for the config.
    bench.registry.allow(3);
    let seen = bench.ends(0, ensure);
    assert_eq!(bench.registry.left(), 0, "the question was answered");
    let id = |seen: &Seen| seen.stdout.split_whitespace().next().unwrap().to_owned();
    assert_eq!(id(&seen), id(&first), "{seen}");
    seen.says(&["the image that is here is used"]);
    bench.registry.allow(usize::MAX);
    assert_ne!(id(&bench.ends(0, ensure)), id(&first));
}

#[test]
fn a_build_follows_its_content_and_nothing_else() {
    let bench = Bench::new();
    let build = "images.build { context = \"web\", tag = web .. \":v1\" }";
    bench.ends(0, build);
    bench.write("web/.dockerignore", "*.log\nnotes\n");
    bench.ends(0, build);
    bench.write("web/a.log", "ignored\n");
    bench.write("web/notes/a.md", "ignored\n");
    assert_eq!(actions(&bench.plan(build)), ["read", "none"], "what is ignored is no part of it");
    bench.write("web/data/run", "changed\n");
    assert_eq!(actions(&bench.plan(build)), ["read", "update"]);
    bench.ends(0, build);
    assert_eq!(actions(&bench.plan(build)), ["read", "none"]);
    let with_args = "images.build { context = \"web\", tag = web .. \":v1\", args = { VERSION = \"2\" } }";
    assert_eq!(actions(&bench.plan(with_args)), ["read", "update"]);

    let before = bench.place.json(&["images", &bench.image("v1"), "--json"]);
    bench.write("web/Containerfile", "FROM scratch\nCOPY missing /missing\n");
    bench.ends(1, build).says(&["MC-C025", "missing"]);
    assert_eq!(
        bench.place.json(&["images", &bench.image("v1"), "--json"]),
        before,
        "the tag still means what it meant"
    );
}

#[test]
fn a_context_stays_within_its_folder() {
    let bench = Bench::new();
    let scripts = bench.place.path().join("scripts");
    symlink("/etc/shadow", scripts.join("web/data/shadow")).unwrap();
    symlink(scripts.join("web"), scripts.join("linked")).unwrap();
    bench.ends(0, "images.build { context = \"web\", tag = web .. \":v1\" }");
    bench
        .ends(1, "images.build { context = \"linked\", tag = web .. \":v1\" }")
        .says(&["MC-A001", "context"]);
    bench.ends(1, "images.build { context = \"../etc\", tag = web .. \":v1\" }").says(&["MC-F001"]);
    bench
        .ends(1, "images.build { context = \"web\", file = \"../a.lua\", tag = web .. \":v1\" }")
        .says(&["MC-A001", "`file`"]);
    bench
        .ends(1, "images.build { context = \"web\", tag = web .. \":v1\", context_limit = 10 }")
        .says(&["MC-H004", "context_limit"]);
    let script = bench.script("images.build { context = \"web\", tag = web .. \":v1\" }");
    let denied = bench
        .place
        .ends(4, &[&script, "--allow", "images", "--allow", "secrets", "--allow", "files:read:/nowhere/**"]);
    denied.says(&["MC-P001", "files:read:", "/scripts/web/**"]);
}

/// Saves `image` with podman itself, as a person would.
#[expect(clippy::disallowed_methods, reason = "the suite makes archives as people do")]
fn save(bench: &Bench, image: &str, format: &str, name: &str) -> String {
    let path = bench.place.at(&format!("scripts/{name}"));
    let saved = std::process::Command::new("podman")
        .args(["save", "--format", format, "--output", &path, image])
        .output()
        .unwrap();
    assert!(saved.status.success(), "{}", String::from_utf8_lossy(&saved.stderr));
    path
}

#[test]
fn archives_of_both_kinds_are_loaded_once() {
    let bench = Bench::new();
    for format in ["docker-archive", "oci-archive"] {
        bench.ends(0, "images.build { context = \"web\", tag = web .. \":v1\" }");
        save(&bench, &bench.image("v1"), format, "web.tar");
        bench.ends(0, "images.remove { image = web .. \":v1\" }");
        let load = "images.ensure { image = web .. \":v2\", archive = \"web.tar\" }";
        assert_eq!(actions(&bench.plan(load)), ["read", "create"], "{format}");
        bench.ends(0, load);
        assert!(bench.names().contains(&bench.image("v2")), "{format}: {:?}", bench.names());
        assert_eq!(actions(&bench.plan(load)), ["read", "none"], "{format}");
        let script = bench.script("images.ensure { image = web .. \":v3\", archive = \"web.tar\" }");
        let allow = format!("images:write:{}", bench.image("v3"));
        bench
            .place
            .ends(4, &[&script, "--allow", "files", "--allow", "secrets", "--allow", &allow])
            .says(&["MC-P001", &format!("images:write:{}", bench.image("v1"))]);
        bench.ends(0, "for _, tag in { \"v1\", \"v2\" } do images.remove { image = `{web}:{tag}` } end");
    }
}

#[test]
fn a_damaged_archive_is_refused_before_the_engine_gets_it() {
    let bench = Bench::new();
    bench.ends(0, "images.build { context = \"web\", tag = web .. \":v1\" }");
    let path = save(&bench, &bench.image("v1"), "docker-archive", "web.tar");
    bench.ends(0, "images.remove { image = web .. \":v1\" }");
    let whole = fs::read(&path).unwrap();
    let refused = |content: &[u8], why: &str| {
        fs::write(&path, content).unwrap();
        let load = "images.ensure { image = web .. \":v1\", archive = \"web.tar\" }";
        assert_eq!(bench.plan(load)["steps"][1]["error"]["code"], "MC-C024", "{why}");
        bench.ends(1, load).says(&["MC-C024", why]);
        assert_eq!(bench.names(), Vec::<String>::new());
    };
    refused(&whole[..700], "cut short");
    refused(&whole[..whole.len() / 2], "");
    refused(b"", "neither");
    refused(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0], "compressed");
    let mut climbing = whole.clone();
    climbing[..10].copy_from_slice(b"../climb\0\0");
    let sum: u32 = climbing[..512]
        .iter()
        .enumerate()
        .map(|(at, &byte)| if (148..156).contains(&at) { 32 } else { u32::from(byte) })
        .sum();
    climbing[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    refused(&climbing, "outside of it");
}

#[test]
fn without_an_engine_images_are_refused_in_the_plan() {
    let place = Place::new();
    for body in [
        "images.ensure { image = \"registry.example/web:v1\" }",
        "images.build { context = \".\", tag = \"localhost/web:v1\" }",
        "images.tag { image = \"localhost/web:v1\", tag = \"localhost/web:v2\" }",
        "images.push { image = \"registry.example/web:v1\" }",
        "images.digest { image = \"registry.example/web:v1\" }",
        "images.remove { image = \"localhost/web:v1\" }",
    ] {
        let script = place.script("a.lua", body);
        let plan = place.json(&["plan", &script, "--allow", "*", "--json"]);
        assert_eq!(plan["steps"][0]["error"]["code"], "MC-C006", "{body}: {plan:#}");
    }
    place.ends(1, &["images"]).says(&["MC-C006"]);
    let script = place.script("a.lua", "print(#images.list {})");
    assert_eq!(place.ends(0, &[&script]).stdout.trim(), "0");
}

#[test]
fn work_on_images_killed_at_any_point_is_resumed_to_the_same_end() {
    let bench = Bench::new();
    let body = "images.build { context = \"web\", tag = web .. \":v1\" }\nimages.push { image = web .. \":v1\", auth = auth, ca = ca }\n\
        images.remove { image = web .. \":v1\" }\nimages.ensure { image = web .. \":v1\", auth = auth, ca = ca }\n\
        images.tag { image = web .. \":v1\", tag = web .. \":stable\" }";
    let script = bench.script(body);
    let words = [script.as_str(), "--allow", "*"];
    let log = bench.place.at("points");
    let seen = bench.place.start_with(&words, &[("MCRUN_CRASH_LOG", &log)]).end();
    assert_eq!(seen.code, Some(0), "{seen}");
    // The journal's own points are the deploy's matter; here it is the engine that is left in the middle of its work.
    let points = bench.place.read("points");
    let positions: Vec<&str> = points.lines().filter(|point| point.starts_with("driver:")).collect();
    assert!(positions.len() >= 10, "{points}");
    let mut killed = 0;
    for position in &positions {
        // Other content each time, so that there is something to build, to push and to pull.
        bench.write("web/data/run", &format!("content {position}\n"));
        let seen = bench.place.start_with(&words, &[("MCRUN_CRASH_AT", position)]).end();
        if seen.code == Some(0) {
            continue;
        }
        killed += 1;
        assert_eq!(seen.code, None, "at {position}: {seen}");
        let run = bench.place.newest();
        let seen = match run["state"].as_str() {
            Some("done") => continue,
            _ if run["resumable"] == true => bench.place.run(&["resume", run["id"].as_str().unwrap()]),
            _ => bench.place.run(&words),
        };
        assert_eq!(seen.code, Some(0), "at {position}: {seen}");
        assert_eq!(bench.names(), [bench.image("stable"), bench.image("v1")], "at {position}");
        let run = bench.place.newest_shown();
        let entries = run["entries"].as_array().unwrap();
        assert!(entries.iter().all(|entry| entry["status"] == "done"), "at {position}: {run:#}");
        let result = |name: &str| {
            data(&entries.iter().find(|entry| entry["identity"]["name"] == name).unwrap()["result"])
        };
        assert_eq!(
            result("images.ensure")["after"]["id"],
            result("images.push")["after"]["id"],
            "at {position}"
        );
    }
    assert!(killed * 3 >= positions.len() * 2, "{killed} of {}", positions.len());
}

#[test]
fn undo_lets_a_tag_mean_what_it_meant() {
    let bench = Bench::new();
    let build = "images.build { context = \"web\", tag = web .. \":v1\" }";
    bench.ends(0, build);
    let ids = || bench.place.json(&["images", &bench.image("v1"), "--json"]);
    let (first, run) = (ids(), bench.place.newest_id());
    bench.write("web/data/run", "other content\n");
    bench.ends(0, build);
    assert_ne!(ids()[0]["id"], first[0]["id"]);
    bench.place.ends(0, &["undo", &bench.place.newest_id(), "--yes"]);
    assert_eq!(ids()[0]["id"], first[0]["id"]);
    bench.place.ends(0, &["undo", &run, "--yes"]);
    assert_eq!(bench.names(), Vec::<String>::new());
}
