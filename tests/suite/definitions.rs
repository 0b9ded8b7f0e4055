//! Definitions in files: `sync` brings all of a folder to the registry, `build` makes their images, `edit` opens them.

use std::fs;

use crate::harness::{Place, Seen};
use crate::on_podman::{Engine, podman};

const ALLOW: &[&str] =
    &["--allow", "containers", "--allow", "images", "--allow", "registry", "--allow", "ports"];

/// A folder with the definition of one service, whose image is made beside it.
struct Bench {
    engine: Engine,
    sources: String,
}

impl Bench {
    fn new() -> Self {
        let engine = Engine::new();
        let sources = engine.place.path().join("definitions/src");
        fs::create_dir_all(&sources).unwrap();
        fs::copy("/bin/busybox", sources.join("busybox")).unwrap();
        let recipe = "FROM scratch\nCOPY busybox /bin/busybox\nSTOPSIGNAL SIGKILL\n";
        fs::write(sources.join("Dockerfile.web"), recipe).unwrap();
        let sources = format!("files:read:{}/**", sources.display());
        Self { engine, sources }
    }

    fn place(&self) -> &Place {
        &self.engine.place
    }

    fn folder(&self) -> String {
        self.place().at("definitions")
    }

    fn file(&self) -> String {
        format!("{}/{}.toml", self.folder(), self.engine.name)
    }

    /// Writes the definition; `more` stands among the fields of the service.
    fn define(&self, more: &str, seconds: &str) {
        let name = &self.engine.name;
        let text = format!(
            "name = \"{name}\"\npath = \"src\"\n{more}\n[build.images]\n{name} = \"Dockerfile.web\"\n\n[[components]]\n\
             name = \"{name}\"\nimage = \"{}:v1.0.0\"\ncmd = [\"/bin/busybox\", \"sleep\", \"{seconds}\"]\n",
            self.engine.image()
        );
        fs::write(self.file(), text).unwrap();
    }

    #[track_caller]
    fn sync(&self, code: i32, more: &[&str]) -> Seen {
        let folder = self.folder();
        let words = [&["sync", &folder, "--allow", &self.sources], ALLOW, more].concat();
        self.place().ends(code, &words)
    }

    fn container(&self) -> String {
        podman(&["inspect", "--format", "{{.Id}} {{.State.Status}}", &self.engine.name])
    }
}

#[test]
fn sync_builds_what_is_missing_deploys_what_differs_and_stops_what_is_inactive() {
    let bench = Bench::new();
    bench.define("", "1000");
    fs::write(bench.place().path().join("definitions/other.lua"), "print(1)\n").unwrap();
    bench.sync(0, &["--plan"]).shows(&[
        "images.build",
        "registry.put",
        "other.lua is a script and left alone",
    ]);
    bench.sync(2, &[]).shows(&["not confirmed", "--yes"]);
    assert_eq!(bench.place().json(&["status", "--json"]).as_array().map(Vec::len), Some(0));
    bench.sync(0, &["--yes"]).shows(&["3 changed"]);
    let first = bench.container();

    bench.sync(0, &[]).shows(&["2 unchanged"]);
    assert_eq!(bench.container(), first);
    bench.define("", "2000");
    bench.sync(0, &["--yes"]).shows(&["2 changed"]);
    assert_ne!(bench.container(), first);

    bench.define("active = false", "2000");
    bench.sync(0, &["--yes"]).shows(&["containers.stop"]);
    assert_eq!(bench.place().json(&["status", "--json"])[0]["state"], "stopped");
    bench.define("node = \"elsewhere\"", "2000");
    bench.sync(0, &[]).shows(&["is for the node elsewhere, left alone"]);

    fs::remove_file(bench.file()).unwrap();
    bench.place().ends(2, &["sync", &bench.folder()]).shows(&["MC-U001", "NAME.toml"]);
    let other = "name = \"other\"\nactive = false\n[[components]]\nname = \"other\"\nimage = \"localhost/other:v1.0.0\"\n";
    fs::write(format!("{}/other.toml", bench.folder()), other).unwrap();
    let left = format!("{}: is recorded, and no definition of", bench.engine.name);
    bench.sync(0, &[]).shows(&[&left]);
    assert_eq!(bench.place().json(&["status", "--json"])[0]["service"], bench.engine.name.as_str());
}

#[test]
fn sync_does_nothing_at_all_where_one_definition_is_wrong() {
    let bench = Bench::new();
    bench.define("", "1000");
    let wrong = format!("{}/zz.toml", bench.folder());
    fs::write(
        &wrong,
        "name = \"zz\"\n[[components]]\nname = \"zz\"\nimage = \"localhost/zz:v1.0.0\"\nport = 1\n",
    )
    .unwrap();
    bench.sync(1, &["--yes"]).shows(&[&format!("{wrong}:5:1: field `components[1].port` is unknown")]);
    fs::copy(bench.file(), &wrong).unwrap();
    bench.sync(1, &["--yes"]).shows(&["MC-A001", "is that of"]);
    assert_eq!(bench.place().json(&["status", "--json"]).as_array().map(Vec::len), Some(0));
}

#[test]
fn build_makes_the_images_of_a_definition_and_reads_nothing_beyond_its_folder() {
    let bench = Bench::new();
    let (name, file) = (bench.engine.name.as_str(), bench.file());
    bench.define("", "1000");
    let words = ["build", name, "--definition", &file];
    bench.place().ends(0, &words).shows(&["1 changed"]);
    bench.place().ends(0, &["build", name, "--definition", &bench.folder()]).shows(&["0 changed"]);
    bench
        .place()
        .ends(1, &["build", "nobody", "--definition", &bench.folder()])
        .shows(&["MC-R001", "--definition"]);

    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("path = \"src\"", "path = \"/etc\"")).unwrap();
    bench.place().ends(4, &words).shows(&["MC-P001", "files:read:/etc/**"]);
    fs::write(&file, text.replace("[build.images]", "[build.imagse]")).unwrap();
    bench.place().ends(1, &words).shows(&[&format!("{file}:4:"), "images"]);
}

#[test]
fn build_takes_nobody_elses_definition() {
    let bench = Bench::new();
    let (name, file) = (bench.engine.name.as_str(), bench.file());
    bench.define("", "1000");
    bench.sync(0, &["--yes"]);
    let text = fs::read_to_string(&file).unwrap();
    bench.place().ends(0, &["build", name]).shows(&["0 changed"]);

    fs::write(&file, text.replace(&format!("name = \"{name}\""), "name = \"other\"")).unwrap();
    bench.place().ends(1, &["build", name]).shows(&["MC-R007", &format!("describes `other`, not `{name}`")]);
    bench.place().ends(1, &["build", name, "--definition", &file]).shows(&["MC-R007"]);

    // The same service, and another folder's sources.
    let elsewhere = bench.place().path().join("elsewhere.toml");
    fs::write(&elsewhere, &text).unwrap();
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
    bench.place().ends(1, &["build", name]).shows(&["MC-R007", "it leads to"]);
    fs::write(&elsewhere, text.replace("[build.images]", "[build.images")).unwrap();
    bench
        .place()
        .ends(1, &["build", name, "--definition", &elsewhere.to_string_lossy()])
        .shows(&["elsewhere.toml:4:"]);
}

#[test]
fn edit_checks_what_the_editor_leaves_and_rolls_it_out_when_asked_to() {
    let bench = Bench::new();
    let name = bench.engine.name.as_str();
    bench.define("", "1000");
    bench.sync(0, &["--yes"]);
    let edit = |editor: &str, code: i32, more: &[&str]| {
        let mut command = bench.place().command(&[&["edit", name], more].concat());
        let seen = Seen::of(command.env("EDITOR", editor).output().expect("the program starts"));
        assert_eq!(seen.code, Some(code), "{editor}\n{seen}");
        seen
    };
    edit("true", 0, &[]).shows(&["was not changed"]);
    edit("false", 1, &[]).shows(&["MC-X003", "ended with exit status: 1"]);
    edit("sed -i s/^cmd/kmd/", 1, &[]).shows(&[&format!("{}:10:1: field `components[1].kmd`", bench.file())]);
    edit("sed -i s/^kmd/cmd/", 0, &[]).shows(&[&format!("`mcrun sync {}", bench.file())]);
    let before = bench.container();
    edit("sed -i s/1000/2000/", 0, &["--apply", "--yes"]).shows(&["2 changed"]);
    assert_ne!(bench.container(), before);
    bench.place().ends(2, &["edit", name]).shows(&["MC-U001", "EDITOR"]);
}

#[test]
fn a_definition_that_no_file_has_is_edited_as_the_registry_has_it() {
    let place = Place::new();
    let script = place.script(
        "web.lua",
        "require(\"@std/deploy\").rollout({ name = \"web\", version = \"v1\", exec = { \"/bin/sleep\", \"1000\" }, \
         restart = \"no\", stop_signal = \"SIGKILL\" })\n",
    );
    place.ends(0, &[&script, "--allow", "*"]);
    let edit = |editor: &str, code: i32, more: &[&str]| {
        let mut command = place.command(&[&["edit", "web"], more].concat());
        let seen =
            Seen::of(command.env("EDITOR", editor).env("TMPDIR", place.path()).output().expect("it starts"));
        assert_eq!(seen.code, Some(code), "{editor}\n{seen}");
        seen
    };
    edit("true", 0, &[]).shows(&["web.lua was not changed"]);
    fs::remove_file(&script).unwrap();
    edit("cat", 0, &[]).shows(&["as the registry has it", "version = \"v1\"", "was not changed"]);
    edit("sed -i s/version/verzion/", 1, &[]).shows(&["MC-A002", "web.lua:"]);
    edit("sed -i s/v1/v2/", 0, &["--apply", "--yes"]).shows(&["done web.lua"]);
    assert_eq!(place.json(&["status", "web", "--json"])[0]["version"], "v2");
    place.ends(0, &["undeploy", "web", "--yes"]);
}
