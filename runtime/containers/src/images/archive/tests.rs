use std::io::Write as _;

use serde_json::json;

use super::*;

/// An archive of these entries, in this order.
fn archive(entries: &[(&str, Entry<'_>)]) -> File {
    let mut builder = tar::Builder::new(tempfile::tempfile().unwrap());
    for (name, entry) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        let content: &[u8] = match entry {
            Entry::File(content) => content,
            Entry::Link(kind, target) => {
                header.set_entry_type(*kind);
                header.set_link_name_literal(target).unwrap();
                b""
            }
            Entry::Device => {
                header.set_entry_type(tar::EntryType::Char);
                b""
            }
        };
        header.set_size(content.len() as u64);
        // Written past the checks of the crate: archives come from anybody.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}

enum Entry<'a> {
    File(&'a [u8]),
    Link(tar::EntryType, &'a str),
    Device,
}

const CONFIG: &[u8] = br#"{"architecture":"amd64","config":{"Cmd":["/run"],"Env":["A=b"]}}"#;

fn manifest(images: &Value) -> Vec<u8> {
    images.to_string().into_bytes()
}

fn look(file: &File) -> Result<Found> {
    inspect(file, Path::new("web.tar"), &"x.io/web:v1".parse().unwrap())
}

fn refusal(entries: &[(&str, Entry<'_>)]) -> String {
    let error = look(&archive(entries)).unwrap_err();
    assert_eq!(error.code, Code::ImageArchive, "{error}");
    error.cause.unwrap()
}

#[test]
fn the_image_of_a_docker_archive_is_known_by_its_config() {
    let manifest =
        manifest(&json!([{ "Config": "c.json", "RepoTags": ["y.io/other:v1"], "Layers": ["l/layer.tar"] }]));
    let file = archive(&[
        ("manifest.json", Entry::File(&manifest)),
        ("./c.json", Entry::File(CONFIG)),
        ("l/layer.tar", Entry::Link(tar::EntryType::Symlink, "../m/layer.tar")),
    ]);
    let found = look(&file).unwrap();
    assert_eq!(found.id, digest(CONFIG));
    assert_eq!(found.names, ["y.io/other:v1"]);
    assert_eq!((found.defaults.cmd, found.defaults.env["A"].as_str()), (vec!["/run".to_owned()], "b"));
}

#[test]
fn of_several_images_the_one_of_the_name_is_taken() {
    let image = |name: &str, config: &str| json!({ "Config": config, "RepoTags": [name], "Layers": null });
    let both = manifest(&json!([image("x.io/web:v0", "a.json"), image("x.io/web:v1", "c.json")]));
    let entries = [
        ("manifest.json", Entry::File(&both)),
        ("a.json", Entry::File(b"{}")),
        ("c.json", Entry::File(CONFIG)),
    ];
    assert_eq!(look(&archive(&entries)).unwrap().id, digest(CONFIG));
    let neither = manifest(&json!([image("x.io/web:v0", "a.json"), image("x.io/web:v2", "c.json")]));
    let why = refusal(&[
        ("manifest.json", Entry::File(&neither)),
        ("a.json", Entry::File(b"{}")),
        ("c.json", Entry::File(CONFIG)),
    ]);
    assert_eq!(why, "none of its 2 images is called `x.io/web:v1`");
}

#[test]
fn the_content_of_an_oci_archive_is_what_its_digests_say() {
    let blob = |content: &[u8]| digest(content).replace("sha256:", "blobs/sha256/");
    let inner = json!({ "config": { "digest": digest(CONFIG) }, "layers": [] }).to_string();
    let index = json!({ "manifests": [{ "digest": digest(inner.as_bytes()), "annotations": { NAME_ANNOTATION: "v1" } }] }).to_string();
    let (config, named) = (blob(CONFIG), blob(inner.as_bytes()));
    let of = |content: &'static [u8]| content;
    let whole = [
        ("index.json", Entry::File(index.as_bytes())),
        (named.as_str(), Entry::File(inner.as_bytes())),
        (config.as_str(), Entry::File(of(CONFIG))),
    ];
    assert_eq!(look(&archive(&whole)).unwrap().id, digest(CONFIG));
    let forged = [("index.json", Entry::File(index.as_bytes())), (named.as_str(), Entry::File(b"{}"))];
    assert!(refusal(&forged).contains("other content"));
}

#[test]
fn entries_that_reach_outside_are_refused() {
    for name in ["../a", "a/../../b", "/etc/passwd", ".."] {
        assert!(refusal(&[(name, Entry::File(b"x"))]).contains("outside of it"), "{name}");
    }
    for (kind, target) in [
        (tar::EntryType::Symlink, "/etc/passwd"),
        (tar::EntryType::Symlink, "../../etc"),
        (tar::EntryType::Link, "../a"),
        (tar::EntryType::Link, "/a"),
    ] {
        assert!(refusal(&[("a/b", Entry::Link(kind, target))]).contains("leads outside"), "{target}");
    }
    assert!(refusal(&[("null", Entry::Device)]).contains("no file, folder or link"));
}

#[test]
fn documents_that_make_no_sense_are_refused() {
    let large = vec![b' '; 5 << 20];
    for manifest in [
        &b"null"[..],
        b"{}",
        b"[]",
        b"[{}]",
        b"\xff",
        br#"[{"Config":"../c"}]"#,
        br#"[{"Config":"c.json"}]"#,
        &large,
    ] {
        refusal(&[("manifest.json", Entry::File(manifest))]);
    }
    let layer = manifest(&json!([{ "Config": "c.json", "Layers": ["gone"] }]));
    assert!(
        refusal(&[("manifest.json", Entry::File(&layer)), ("c.json", Entry::File(CONFIG))])
            .contains("`gone` is missing")
    );
    for index in [&b"7"[..], br#"{"manifests":[{"digest":"sha256:../../x"}]}"#, br#"{"manifests":[]}"#] {
        refusal(&[("index.json", Entry::File(index))]);
    }
}

#[test]
fn an_archive_cut_anywhere_is_refused_or_whole() {
    let manifest = manifest(&json!([{ "Config": "c.json", "RepoTags": null, "Layers": [] }]));
    let mut file = archive(&[("c.json", Entry::File(CONFIG)), ("manifest.json", Entry::File(&manifest))]);
    let mut whole = Vec::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut whole).unwrap();
    let needed = 3 * 512 + manifest.len();
    for length in (0..whole.len()).step_by(7) {
        let mut cut = tempfile::tempfile().unwrap();
        cut.write_all(&whole[..length]).unwrap();
        match look(&cut) {
            Ok(_) => assert!(length >= needed, "{length} of {}", whole.len()),
            Err(error) => assert_eq!(error.code, Code::ImageArchive, "{length}"),
        }
    }
}
