//! `files.archive` and `files.extract`: against GNU tar, and against archives that mean harm.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use effect::{Action, Code};
use proptest::prelude::*;
use serde_json::json;
use tar::{EntryType, Header};

use crate::bench::{Bench, Script};
use crate::trees::{fill, mode, tree};

#[expect(clippy::disallowed_methods, reason = "tests ask GNU tar")]
fn gnu_tar(folder: &Path, words: &[&str]) -> String {
    let out = std::process::Command::new("tar").args(words).current_dir(folder).output().unwrap();
    assert!(out.status.success(), "tar {words:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[tokio::test]
async fn the_same_files_make_the_same_archive() {
    let bench = Bench::new();
    let script = bench.run().await;
    let root = bench.root();
    fill(&root, &[("one/b", "2"), ("one/a/c", "3")]);
    fill(&root, &[("two/a/c", "3"), ("two/b", "2")]);
    std::os::unix::fs::chown(root.join("two/b"), Some(12), Some(34)).unwrap();
    let pack = |source: &str| json!({ "path": format!("{source}.tar.zst"), "source": source });
    for source in ["one", "two"] {
        assert_eq!(script.done("files.archive", pack(source)).await["changed"], true);
    }
    let bytes = fs::read(root.join("one.tar.zst")).unwrap();
    assert_eq!(bytes, fs::read(root.join("two.tar.zst")).unwrap());
    let inode = fs::metadata(root.join("one.tar.zst")).unwrap().ino();
    assert_eq!(script.done("files.archive", pack("one")).await["changed"], false);
    assert_eq!(fs::metadata(root.join("one.tar.zst")).unwrap().ino(), inode);
    fill(&root, &[("one/b", "changed")]);
    assert_eq!(script.done("files.archive", pack("one")).await["changed"], true);
    assert_ne!(bytes, fs::read(root.join("one.tar.zst")).unwrap());
    assert_eq!(fs::read_dir(&root).unwrap().count(), 4, "nothing is left over");
}

#[tokio::test]
async fn gnu_tar_reads_what_is_packed() {
    let bench = Bench::new();
    let script = bench.run().await;
    let root = bench.root();
    let long = format!("deep/{}/{}", "x".repeat(120), "y".repeat(200));
    fill(&root, &[("a/run.sh", "#!/bin/sh"), (&format!("a/{long}"), "3")]);
    fs::set_permissions(root.join("a/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    script.done("files.archive", json!({ "path": "a.tar", "source": "a", "mtime": 1_000_000_000 })).await;
    let listed = gnu_tar(&root, &["--full-time", "--utc", "-tvf", "a.tar"]);
    assert!(listed.contains("-rwxr-xr-x 0/0"), "{listed}");
    assert!(listed.contains("2001-09-09 01:46:40 run.sh") && listed.contains(&long), "{listed}");
    fs::create_dir(root.join("b")).unwrap();
    gnu_tar(&root, &["-xf", "a.tar", "-C", "b"]);
    assert_eq!(tree(&root.join("a")), tree(&root.join("b")));
}

#[tokio::test]
async fn what_gnu_tar_packs_is_extracted() {
    let bench = Bench::new();
    let script = bench.run().await;
    let root = bench.root();
    let long = format!("top/deep/{}/{}", "x".repeat(120), "y".repeat(200));
    fill(&root, &[("a/top/run.sh", "#!/bin/sh"), (&format!("a/{long}"), &"3".repeat(100_000))]);
    fs::set_permissions(root.join("a/top/run.sh"), fs::Permissions::from_mode(0o750)).unwrap();
    for (index, options) in
        [&["-czf"][..], &["-cf"], &["--format=pax", "-cf"], &["--format=ustar", "--exclude=x*", "-cf"]]
            .iter()
            .enumerate()
    {
        let archive = format!("{index}.tar");
        gnu_tar(&root, &[*options, &[archive.as_str(), "-C", "a", "."]].concat());
        let folder = format!("out{index}");
        let wanted = json!({ "path": folder, "archive": archive });
        script.done("files.extract", wanted.clone()).await;
        if index < 3 {
            assert_eq!(tree(&root.join("a")), tree(&root.join(&folder)), "{options:?}");
        }
        assert_eq!(script.done("files.extract", wanted).await["changed"], false, "{options:?}");
    }
    let stripped = json!({ "path": "s", "archive": "0.tar", "strip": 1, "exclude": ["deep"] });
    script.done("files.extract", stripped).await;
    assert_eq!(tree(&root.join("s")), ["run.sh 750 #!/bin/sh"]);
}

#[tokio::test]
async fn an_extraction_changes_only_what_differs() {
    let bench = Bench::new();
    let script = bench.run().await;
    let root = bench.root();
    fill(&root, &[("a/x", "1"), ("a/y/z", "2")]);
    script.done("files.archive", json!({ "path": "a.tar.zst", "source": "a" })).await;
    let wanted = json!({ "path": "out/here", "archive": "a.tar.zst", "parents": true });
    script.done("files.extract", wanted.clone()).await;
    fill(&root, &[("out/here/y/z", "changed by hand"), ("out/here/own", "stays")]);
    fs::set_permissions(root.join("out/here/x"), fs::Permissions::from_mode(0o600)).unwrap();
    let inode = fs::metadata(root.join("out/here/x")).unwrap().ino();
    let plan = bench.plan().await;
    plan.done("files.extract", wanted.clone()).await;
    let step = &plan.steps()[0];
    assert_eq!(step.action, Action::Update);
    let paths: Vec<&str> = step.fields.iter().map(|field| field.path.as_str()).collect();
    assert_eq!(paths, ["x", "y/z"]);
    script.done("files.extract", wanted).await;
    let found = tree(&root.join("out/here"));
    assert_eq!(found, ["own 644 stays", "x 644 1", "y/ 755", "y/z 644 2"]);
    assert_eq!(fs::metadata(root.join("out/here/x")).unwrap().ino(), inode, "only its mode changed");
}

/// A header that no honest program writes.
pub(crate) fn header(name: &str, kind: EntryType, size: u64, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_cksum();
    header
}

/// Entries as they come, with the end of an archive.
pub(crate) fn archive(entries: &[(Header, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (header, content) in entries {
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

pub(crate) fn file(name: &str) -> (Header, &'static [u8]) {
    (header(name, EntryType::Regular, 1, 0o644), b"x")
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 19).unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn link(name: &str, kind: EntryType, target: &str) -> (Header, &'static [u8]) {
    let mut link = header(name, kind, 0, 0o777);
    link.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
    link.set_cksum();
    (link, b"")
}

async fn extract(bench: &Bench, script: &Script, bytes: &[u8]) -> effect::Error {
    fs::write(bench.root().join("a.tar"), bytes).unwrap();
    let error = script.fails("files.extract", json!({ "path": "out", "archive": "a.tar" })).await;
    assert!(!bench.root().join("out").exists(), "{error}: nothing is written");
    assert_eq!(fs::read_dir(bench.root()).unwrap().count(), 1);
    error
}

#[tokio::test]
async fn an_archive_that_means_harm_is_refused_whole() {
    let bench = Bench::new();
    let script = bench.run().await;
    let good = file("good");
    let long_name = "n".repeat(100_000);
    let pax_size = b"11 size=99\n";
    let pax_path = b"16 path=../evil\n";
    let device = header("null", EntryType::Char, 0, 0o666);
    for (what, entries) in [
        ("traversal", vec![good.clone(), file("../evil")]),
        ("hidden traversal", vec![good.clone(), file("a/../../evil")]),
        ("absolute", vec![file("/tmp/evil")]),
        ("symbolic link", vec![link("l", EntryType::Symlink, "/etc"), file("l/passwd")]),
        ("hard link", vec![link("l", EntryType::Link, "/etc/shadow")]),
        ("device", vec![(device, b"")]),
        ("pipe", vec![(header("p", EntryType::Fifo, 0, 0o644), b"")]),
        ("setuid", vec![(header("s", EntryType::Regular, 1, 0o4755), b"x")]),
        ("setgid", vec![(header("s", EntryType::Regular, 1, 0o2755), b"x")]),
        ("twice", vec![good.clone(), good.clone()]),
        ("in a file", vec![good.clone(), file("good/inside")]),
        ("file over folder", vec![file("a/b"), file("a")]),
        ("control characters", vec![file("a\x1b[2Jb")]),
        ("newline", vec![file("a\nb")]),
        ("no name", vec![file("")]),
        ("folder with content", vec![(header("d/", EntryType::Directory, 1, 0o755), b"x")]),
        ("sparse", vec![(header("s", EntryType::GNUSparse, 0, 0o644), b"")]),
        ("unknown kind", vec![(header("u", EntryType::new(b'Z'), 0, 0o644), b"")]),
        (
            "long name",
            vec![(header("L", EntryType::GNULongName, 100_000, 0o644), long_name.as_bytes()), good.clone()],
        ),
        ("two sizes", vec![(header("x", EntryType::XHeader, 11, 0o644), pax_size.as_slice()), good.clone()]),
        (
            "extended traversal",
            vec![(header("x", EntryType::XHeader, 16, 0o644), pax_path.as_slice()), good.clone()],
        ),
    ] {
        let bytes = archive(&entries);
        for packed in [bytes.clone(), zstd(&bytes), gzip(&bytes)] {
            let error = extract(&bench, &script, &packed).await;
            assert_eq!(error.code, Code::ArchiveRefused, "{what}: {error}");
            assert!(!error.message.contains('\x1b'), "{what}");
        }
    }
    assert!(!bench.root().parent().unwrap().join("evil").exists() && !Path::new("/tmp/evil").exists());
}

#[tokio::test]
async fn an_archive_that_is_broken_says_so() {
    let bench = Bench::new();
    let script = bench.run().await;
    let whole = archive(&[(header("a", EntryType::Regular, 2000, 0o644), &[7; 2000])]);
    let mut damaged = zstd(&whole);
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    let mut wrong_sum = whole.clone();
    wrong_sum[0] ^= 1;
    for (what, bytes) in [
        ("cut in a file", whole[..1000].to_vec()),
        ("cut in a header", whole[..100].to_vec()),
        ("cut zstd", zstd(&whole)[..20].to_vec()),
        ("cut gzip", gzip(&whole)[..15].to_vec()),
        ("damaged", damaged),
        ("checksum", wrong_sum),
        ("text", b"this is no archive at all, but a text of some length".repeat(20)),
        ("long name at the end", archive(&[(header("L", EntryType::GNULongName, 4, 0o644), b"name")])),
    ] {
        let error = extract(&bench, &script, &bytes).await;
        assert_eq!(error.code, Code::ArchiveBroken, "{what}: {error}");
    }
    let error = script.fails("files.extract", json!({ "path": "out", "archive": "none.tar" })).await;
    assert_eq!(error.code, Code::FileFailed);
}

#[tokio::test]
async fn a_bomb_stops_at_its_bounds() {
    let bench = Bench::new();
    let script = bench.run().await;
    let zeros = vec![0; 32 << 20];
    let bomb = archive(&[(header("zeros", EntryType::Regular, 32 << 20, 0o644), &zeros)]);
    for packed in [zstd::bulk::compress(&bomb, 3).unwrap(), gzip(&bomb)] {
        let error = extract(&bench, &script, &packed).await;
        assert_eq!(error.code, Code::TooLarge, "{error}");
        assert!(error.message.contains("times its size"), "{error}");
    }
    fs::write(bench.root().join("a.tar"), zstd::bulk::compress(&bomb, 3).unwrap()).unwrap();
    let trusted = json!({ "path": "out", "archive": "a.tar", "ratio": 100_000 });
    let limited = json!({ "path": "out", "archive": "a.tar", "ratio": 100_000, "limit": "1MiB" });
    assert_eq!(script.fails("files.extract", limited).await.code, Code::TooLarge);
    script.done("files.extract", trusted).await;
    assert_eq!(fs::metadata(bench.root().join("out/zeros")).unwrap().len(), 32 << 20);
    fs::remove_dir_all(bench.root().join("out")).unwrap();

    let names: Vec<String> = (0..300).map(|index| format!("f{index}")).collect();
    let many = archive(&names.iter().map(|name| file(name)).collect::<Vec<_>>());
    fs::write(bench.root().join("a.tar"), many).unwrap();
    let few = json!({ "path": "out", "archive": "a.tar", "entries": 299 });
    assert_eq!(script.fails("files.extract", few).await.code, Code::TooLarge);
    // A size that nothing follows: neither memory nor disk is taken for it.
    let claim = archive(&[(header("huge", EntryType::Regular, 8 << 30, 0o644), b"x")]);
    assert_eq!(extract(&bench, &script, &claim).await.code, Code::TooLarge);
}

#[tokio::test]
async fn what_an_extraction_meets_is_never_followed() {
    let bench = Bench::new();
    let script = bench.run().await;
    let root = bench.root();
    let outside = root.parent().unwrap().join("outside");
    fs::write(root.join("a.tar"), archive(&[file("sub/evil")])).unwrap();
    fs::create_dir(root.join("out")).unwrap();
    std::os::unix::fs::symlink(&outside, root.join("out/sub")).unwrap();
    let error = script.fails("files.extract", json!({ "path": "out", "archive": "a.tar" })).await;
    assert_eq!(error.code, Code::FileRefused);
    assert!(!outside.join("evil").exists());
    let into = json!({ "path": "out/sub", "archive": "a.tar" });
    assert_eq!(script.fails("files.extract", into).await.code, Code::FileRefused);
    fs::remove_file(root.join("out/sub")).unwrap();
    script.done("files.extract", json!({ "path": "out", "archive": "a.tar", "owner": "12:34" })).await;
    let made = fs::metadata(root.join("out/sub/evil")).unwrap();
    assert_eq!((made.uid(), made.gid(), mode(&root.join("out/sub/evil"))), (12, 34, 0o644));
}

#[tokio::test]
async fn a_folder_with_links_is_not_packed() {
    let bench = Bench::new();
    let script = bench.run().await;
    let root = bench.root();
    fill(&root, &[("a/x", "1")]);
    std::os::unix::fs::symlink("/etc/passwd", root.join("a/leak")).unwrap();
    let error = script.fails("files.archive", json!({ "path": "a.tar.zst", "source": "a" })).await;
    assert_eq!(error.code, Code::FileRefused);
    script.done("files.archive", json!({ "path": "a.tar", "source": "a", "exclude": ["leak"] })).await;
    assert_eq!(gnu_tar(&root, &["-tf", "a.tar"]), "x\n");
    for (wrong, code) in [
        (json!({ "path": "a/b.tar", "source": "a" }), Code::Argument),
        (json!({ "path": "a.zip", "source": "a" }), Code::Argument),
        (json!({ "path": "b.tar", "source": "none" }), Code::FileFailed),
        (json!({ "path": "b.tar", "source": "a", "exclude": ["leak"], "limit": 0 }), Code::TooLarge),
    ] {
        assert_eq!(script.fails("files.archive", wrong.clone()).await.code, code, "{wrong}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// No bytes whatever end this process, leave anything outside, or are taken for an internal mistake.
    #[test]
    fn no_bytes_do_harm(
        at in proptest::collection::vec((0usize..4096, any::<u8>()), 1..12),
        form in 0..3,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new();
            let script = bench.run().await;
            let entries = [file("a/b"), (header("d/", EntryType::Directory, 0, 0o755), b"".as_slice()), file("c")];
            let mut bytes = archive(&entries);
            if form == 0 {
                for (at, byte) in &at {
                    let at = at % bytes.len();
                    bytes[at] = *byte;
                }
            }
            let mut packed = match form { 0 => bytes, 1 => zstd(&bytes), _ => gzip(&bytes) };
            if form > 0 {
                for (at, byte) in &at {
                    let at = at % packed.len();
                    packed[at] = *byte;
                }
            }
            fs::write(bench.root().join("a.tar"), packed).unwrap();
            let answer = script.call("files.extract", json!({ "path": "out", "archive": "a.tar" })).await;
            if let Err(error) = answer {
                assert!(matches!(error.code, Code::ArchiveBroken | Code::ArchiveRefused | Code::TooLarge), "{error}");
            }
            let around = fs::read_dir(bench.root()).unwrap().count();
            assert!(around <= 2, "{around}");
        });
    }
}

#[tokio::test]
async fn what_only_the_run_can_know_is_not_made_up_by_the_plan() {
    let bench = Bench::new();
    let root = bench.root();
    // Too large to be held by a plan, and nothing that compresses.
    let mut state = 1_u32;
    let noise: Vec<u8> = (0..3 << 20)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        })
        .collect();
    fs::create_dir(root.join("a")).unwrap();
    fs::write(root.join("a/noise"), noise).unwrap();
    let steps = [
        ("files.sync", json!({ "path": "b", "source": "a" })),
        ("files.archive", json!({ "path": "b.tar.zst", "source": "b" })),
        ("files.extract", json!({ "path": "c", "archive": "b.tar.zst" })),
    ];
    let plan = bench.plan().await;
    let mut planned = Vec::new();
    for (name, arguments) in &steps {
        planned.push(plan.done(name, arguments.clone()).await);
    }
    assert_eq!(planned[0]["after"]["size"], 3 << 20);
    assert_eq!(planned[1]["after"]["$unknown"], json!(["size", "hash"]));
    assert_eq!(planned[2]["after"]["$unknown"], json!(["files", "folders", "size", "hash"]));
    assert!(plan.steps().iter().all(|step| step.action == Action::Create && step.error.is_none()));
    assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
    let script = bench.run().await;
    for (name, arguments) in &steps {
        assert_eq!(script.done(name, arguments.clone()).await["changed"], true);
    }
    assert_eq!(fs::read(root.join("a/noise")).unwrap(), fs::read(root.join("c/noise")).unwrap());
    let again = bench.plan().await;
    for (name, arguments) in &steps {
        assert_eq!(again.done(name, arguments.clone()).await["changed"], false, "{name}");
    }
}
