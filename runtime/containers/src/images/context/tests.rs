use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write("Containerfile", "FROM scratch\n");
        place.write("src/main.rs", "fn main() {}\n");
        place
    }

    fn path(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn folder(&self) -> Folder {
        Folder::open(&self.path(), None, 1 << 20).unwrap()
    }

    fn hash(&self) -> String {
        self.folder().hash().unwrap().to_hex().to_string()
    }

    fn archived(&self) -> Vec<String> {
        let (sender, mut pieces) = mpsc::channel(1000);
        self.folder().write(sender);
        let mut whole = Vec::new();
        while let Some(piece) = pieces.blocking_recv() {
            whole.extend_from_slice(&piece.unwrap());
        }
        let mut archive = tar::Archive::new(whole.as_slice());
        let entries = archive.entries().unwrap();
        entries
            .map(|entry| entry.unwrap().path().unwrap().to_str().unwrap().trim_end_matches('/').to_owned())
            .collect()
    }
}

#[test]
fn the_hash_follows_names_permissions_and_content_only() {
    let place = Place::new();
    let first = place.hash();
    let file = File::options().write(true).open(place.path().join("src/main.rs")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(place.hash(), first, "times are no content");
    fs::set_permissions(place.path().join("src/main.rs"), fs::Permissions::from_mode(0o755)).unwrap();
    let second = place.hash();
    assert_ne!(second, first);
    fs::rename(place.path().join("src/main.rs"), place.path().join("src/other.rs")).unwrap();
    assert_ne!(place.hash(), second);
    let third = place.hash();
    place.write("src/other.rs", "fn main() {} \n");
    assert_ne!(place.hash(), third);
    let fourth = place.hash();
    symlink("other.rs", place.path().join("src/link.rs")).unwrap();
    assert_ne!(place.hash(), fourth);
}

#[test]
fn what_is_ignored_is_left_out_and_the_containerfile_is_not() {
    let place = Place::new();
    place.write(".containerignore", "*\n!src/main.rs\n");
    place.write("secret", "x");
    place.write("src/other.rs", "x");
    assert_eq!(place.archived(), ["Containerfile", "src/main.rs"]);
    place.write(".dockerignore", "");
    assert_eq!(
        place.archived(),
        ["Containerfile", "src/main.rs"],
        "the other file counts only without this one"
    );
}

#[test]
fn links_stay_links_and_bits_of_power_are_dropped() {
    let place = Place::new();
    symlink("/etc/shadow", place.path().join("shadow")).unwrap();
    fs::set_permissions(place.path().join("src/main.rs"), fs::Permissions::from_mode(0o4755)).unwrap();
    let entries = place.folder().entries().unwrap();
    assert!(
        entries
            .iter()
            .any(|entry| matches!(&entry.kind, Kind::Link { target } if target == Path::new("/etc/shadow")))
    );
    assert!(entries.iter().all(|entry| entry.mode <= 0o777));
}

#[test]
fn pipes_and_too_much_are_refused() {
    let place = Place::new();
    rustix::fs::mknodat(CWD, place.path().join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert_eq!(place.folder().hash().unwrap_err().code, Code::FileRefused);
    place.write(".dockerignore", "pipe\n");
    place.hash();
    let small = Folder::open(&place.path(), None, 3).unwrap();
    assert_eq!(small.hash().unwrap_err().code, Code::TooLarge);
}

#[test]
fn a_containerfile_that_is_a_link_or_lies_outside_is_refused() {
    let place = Place::new();
    symlink("/etc/passwd", place.path().join("linked")).unwrap();
    for file in ["linked", "../x", "/etc/passwd", "missing", "src", ""] {
        assert_eq!(Folder::open(&place.path(), Some(file), 1).err().unwrap().code, Code::Argument, "{file}");
    }
    let link = place.path().join("folder");
    symlink(place.path().join("src"), &link).unwrap();
    assert_eq!(Folder::open(&link, None, 1).err().unwrap().code, Code::Argument);
}

#[test]
fn deep_folders_end_somewhere() {
    let place = Place::new();
    let mut path = place.path();
    for _ in 0..DEEPEST + 2 {
        path.push("d");
        fs::create_dir(&path).unwrap();
    }
    assert_eq!(place.folder().hash().unwrap_err().code, Code::TooLarge);
}
