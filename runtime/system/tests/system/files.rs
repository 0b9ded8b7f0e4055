use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use effect::{Action, Code, Mode};
use serde_json::json;

use crate::bench::{Bench, secret};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn a_file_is_written_once() {
    let bench = Bench::new();
    let script = bench.run().await;
    let file = bench.root().join("app.toml");
    let wanted = json!({ "path": "app.toml", "content": "port = 1\n", "mode": "0640" });
    let first = script.done("files.write", wanted.clone()).await;
    assert_eq!(first["changed"], true);
    assert_eq!(first["after"]["mode"], "0640");
    assert_eq!(first["after"]["path"], file.to_str().unwrap());
    assert!(first.get("before").is_none());
    assert_eq!(fs::read_to_string(&file).unwrap(), "port = 1\n");
    assert_eq!(mode(&file), 0o640);
    let inode = fs::metadata(&file).unwrap().ino();
    let second = script.done("files.write", wanted).await;
    assert_eq!(second["changed"], false);
    assert_eq!(fs::metadata(&file).unwrap().ino(), inode);
    assert_eq!(fs::read_dir(bench.root()).unwrap().count(), 1);
}

#[tokio::test]
async fn an_existing_file_keeps_its_mode_and_owner_unless_given() {
    let bench = Bench::new();
    let script = bench.run().await;
    let file = bench.root().join("a");
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).unwrap();
    std::os::unix::fs::chown(&file, Some(12), Some(34)).unwrap();
    script.done("files.write", json!({ "path": "a", "content": "new" })).await;
    let found = fs::metadata(&file).unwrap();
    assert_eq!((mode(&file), found.uid(), found.gid()), (0o604, 12, 34));
    let changed = script
        .done("files.write", json!({ "path": "a", "content": "new", "mode": "0600", "owner": "root" }))
        .await;
    assert_eq!(changed["before"]["owner"], "12:34");
    assert_eq!(changed["after"]["owner"], "0:0");
    assert_eq!(mode(&file), 0o600);
}

#[tokio::test]
async fn before_holds_the_old_content_sealed() {
    let bench = Bench::new();
    let script = bench.run().await;
    fs::write(bench.root().join("a"), "the old content").unwrap();
    let written = script.done("files.write", json!({ "path": "a", "content": "new" })).await;
    assert!(written["before"]["content"]["$hidden"].is_string(), "{written}");
    assert!(written["after"].get("content").is_none(), "{written}");
    assert!(!written.to_string().contains("old content"));
}

#[tokio::test]
async fn a_plan_shows_what_differs_and_later_reads_see_it() {
    let bench = Bench::new();
    fs::write(bench.root().join("a"), "old").unwrap();
    let plan = bench.plan().await;
    plan.done("files.write", json!({ "path": "a", "content": "new content" })).await;
    plan.done("files.write", json!({ "path": "b", "content": "b", "mode": "0600" })).await;
    assert_eq!(plan.done("files.read", json!({ "path": "a" })).await["content"], "new content");
    assert_eq!(plan.done("files.stat", json!({ "path": "b" })).await["mode"], "0600");
    plan.done("files.remove", json!({ "path": "b" })).await;
    assert_eq!(plan.done("files.stat", json!({ "path": "b" })).await, json!({ "exists": false }));
    let steps = plan.steps();
    let paths =
        |index: usize| steps[index].fields.iter().map(|field| field.path.as_str()).collect::<Vec<_>>();
    assert_eq!((steps[0].action, paths(0)), (Action::Update, vec!["content"]));
    assert_eq!((steps[1].action, paths(1)), (Action::Create, vec!["content", "mode"]));
    assert_eq!(steps[4].action, Action::Remove);
    assert_eq!(fs::read_to_string(bench.root().join("a")).unwrap(), "old");
    assert!(!bench.root().join("b").exists());
}

#[tokio::test]
async fn links_and_dots_are_refused_and_named() {
    let bench = Bench::new();
    let script = bench.run().await;
    let root = bench.root();
    fs::create_dir(root.join("real")).unwrap();
    fs::write(root.join("real/file"), "x").unwrap();
    symlink("real", root.join("alias")).unwrap();
    symlink("real/file", root.join("link")).unwrap();
    for (path, culprit) in [
        ("alias/file", "alias"),
        ("link", "link"),
        ("a/../real/file", ".."),
        ("/proc/self/root/etc/hosts", "self"),
    ] {
        for (effect, arguments) in [
            ("files.read", json!({ "path": path })),
            ("files.write", json!({ "path": path, "content": "y" })),
            ("files.remove", json!({ "path": path })),
        ] {
            let error = script.fails(effect, arguments).await;
            assert_eq!(error.code, Code::FileRefused, "{effect} {path}: {error}");
            assert!(error.message.contains(culprit), "{effect} {path}: {error}");
        }
    }
    let hint = script.fails("files.read", json!({ "path": "alias/file" })).await.hint.unwrap();
    assert!(hint.contains(root.join("real/file").to_str().unwrap()), "{hint}");
    assert_eq!(script.done("files.stat", json!({ "path": "link" })).await["kind"], "link");
    assert_eq!(fs::read_to_string(root.join("real/file")).unwrap(), "x");
}

#[tokio::test]
async fn a_pipe_is_refused_without_hanging() {
    let bench = Bench::new();
    let script = bench.run().await;
    script.done("exec.run", json!({ "argv": ["mkfifo", "pipe"] })).await;
    assert_eq!(script.fails("files.read", json!({ "path": "pipe" })).await.code, Code::FileRefused);
    assert_eq!(
        script.fails("files.write", json!({ "path": "pipe", "content": "" })).await.code,
        Code::FileRefused
    );
}

#[tokio::test]
async fn a_path_needs_its_own_capability() {
    let bench = Bench::new();
    let allow = format!("files:write:{}/data/**", bench.root().display());
    let script = bench.script(Mode::Run, &[&allow]).await;
    script.done("files.write", json!({ "path": "data/a/b", "content": "", "parents": true })).await;
    let error = script.fails("files.write", json!({ "path": "other", "content": "" })).await;
    assert_eq!(error.code, Code::Denied);
    assert_eq!(error.missing, [format!("files:write:{}/other", bench.root().display())]);
}

#[tokio::test]
async fn a_missing_folder_and_a_missing_file_are_told() {
    let script = Bench::new().run().await;
    let error = script.fails("files.write", json!({ "path": "no/a", "content": "" })).await;
    assert_eq!(error.code, Code::FileFailed);
    assert!(error.hint.unwrap().contains("parents"));
    assert_eq!(script.fails("files.read", json!({ "path": "no/a" })).await.code, Code::FileFailed);
    assert_eq!(script.done("files.stat", json!({ "path": "no/a" })).await["exists"], false);
}

#[tokio::test]
async fn reading_has_a_limit_and_takes_only_text() {
    let bench = Bench::new();
    let script = bench.run().await;
    fs::write(bench.root().join("large"), "x".repeat(2000)).unwrap();
    fs::write(bench.root().join("binary"), [0xff, 0xfe]).unwrap();
    let error = script.fails("files.read", json!({ "path": "large", "limit": "1KiB" })).await;
    assert_eq!(error.code, Code::TooLarge);
    assert_eq!(script.done("files.read", json!({ "path": "large" })).await["size"], 2000);
    assert_eq!(script.fails("files.read", json!({ "path": "binary" })).await.code, Code::FileFailed);
}

#[tokio::test]
async fn a_folder_is_made_and_removed_only_when_empty() {
    let bench = Bench::new();
    let script = bench.run().await;
    let wanted = json!({ "path": "a/b", "mode": "0750", "parents": true });
    assert_eq!(script.done("files.directory", wanted.clone()).await["changed"], true);
    assert_eq!(mode(&bench.root().join("a/b")), 0o750);
    assert_eq!(script.done("files.directory", wanted).await["changed"], false);
    let error = script.fails("files.remove", json!({ "path": "a" })).await;
    assert!(error.cause.unwrap().contains("it holds `b`"));
    let plan = bench.plan().await;
    plan.done("files.remove", json!({ "path": "a/b" })).await;
    plan.done("files.remove", json!({ "path": "a" })).await;
    script.done("files.remove", json!({ "path": "a/b" })).await;
    assert_eq!(script.done("files.remove", json!({ "path": "a" })).await["changed"], true);
    assert_eq!(script.done("files.remove", json!({ "path": "a" })).await, json!({ "changed": false }));
    assert!(!bench.root().join("a").exists());
}

#[tokio::test]
async fn what_a_kill_left_behind_does_not_stay() {
    let bench = Bench::new();
    let script = bench.run().await;
    script.done("files.write", json!({ "path": "a", "content": "1" })).await;
    let names =
        || fs::read_dir(bench.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names(), ["a"]);
    // A folder that cannot be renamed over makes the last step fail.
    fs::remove_file(bench.root().join("a")).unwrap();
    fs::create_dir(bench.root().join("a")).unwrap();
    script.fails("files.write", json!({ "path": "a", "content": "2" })).await;
    assert_eq!(names(), ["a"]);
}

#[tokio::test]
async fn a_template_is_rendered_strictly() {
    let bench = Bench::new();
    let script = bench.run().await;
    let template = "{% for host in hosts %}\nhost {{ host.name }}:{{ port }}\n{% endfor %}\nend <&>\n";
    let values = json!({ "port": 80, "hosts": [{ "name": "a" }, { "name": "b" }] });
    script.done("files.template", json!({ "path": "x.html", "template": template, "values": values })).await;
    let text = fs::read_to_string(bench.root().join("x.html")).unwrap();
    assert_eq!(text, "host a:80\nhost b:80\nend <&>\n");
    let error = script
        .fails("files.template", json!({ "path": "x", "template": "{{ prot }}", "values": { "port": 1 } }))
        .await;
    assert_eq!(error.code, Code::TemplateFailed);
    assert!(error.cause.unwrap().contains("undefined"));
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
    let error = script.fails("files.template", json!({ "path": "x", "template": endless })).await;
    assert_eq!(error.code, Code::TemplateFailed);
    assert!(!bench.root().join("x").exists());
}

#[tokio::test]
async fn a_secret_goes_only_into_files_that_it_names() {
    let bench = Bench::new();
    let to = format!("files:{}/*.env", bench.root().display());
    let bench = bench.with_secret("db", "hunter2", &[&to]);
    let script = bench.run().await;
    let db = secret(&script, "db").await;
    let written = script.done("files.write", json!({ "path": "a.env", "secret": db })).await;
    assert_eq!(fs::read_to_string(bench.root().join("a.env")).unwrap(), "hunter2");
    assert_eq!(mode(&bench.root().join("a.env")), 0o600);
    assert!(!written.to_string().contains("hunter2"));
    let template = json!({ "path": "b.env", "template": "PASSWORD={{ db }}\n", "secrets": { "db": db } });
    script.done("files.template", template).await;
    assert_eq!(fs::read_to_string(bench.root().join("b.env")).unwrap(), "PASSWORD=hunter2\n");
    let error = script.fails("files.write", json!({ "path": "a.txt", "secret": db })).await;
    assert_eq!(error.code, Code::SecretPlace);
    let plan = bench.plan().await;
    assert_eq!(
        plan.fails("files.write", json!({ "path": "a.txt", "secret": db })).await.code,
        Code::SecretPlace
    );
}

#[tokio::test]
async fn a_large_file_is_replaced_and_removed_with_a_remark() {
    let bench = Bench::new();
    let file = bench.root().join("large");
    fs::File::create(&file).unwrap().set_len(1 << 40).unwrap();
    let plan = bench.plan().await;
    plan.done("files.remove", json!({ "path": "large" })).await;
    assert_eq!(plan.steps()[0].cannot_undo, ["the old content is too large to be kept for undo"]);
    let script = bench.run().await;
    let written = script.done("files.write", json!({ "path": "large", "content": "small" })).await;
    assert_eq!(written["before"]["size"], 1_u64 << 40);
    let content = "x".repeat(2 << 20);
    let wanted = json!({ "path": "large", "content": content });
    assert_eq!(script.done("files.write", wanted.clone()).await["changed"], true);
    assert_eq!(script.done("files.write", wanted).await["changed"], false);
    script.done("files.remove", json!({ "path": "large" })).await;
    assert!(!file.exists());
}
