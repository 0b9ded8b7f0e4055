//! Owns the check that numbers in `proto/` keep their meaning for good: `proto/numbers.txt` lists every one that was ever
//! given, and only grows.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};

/// What stands under a number: `mcrun.v1.Route 3` is `mode`.
#[derive(Default)]
struct Numbers {
    given: BTreeMap<(String, i32), String>,
    reserved: BTreeSet<(String, i32)>,
}

impl Numbers {
    fn of(set: &FileDescriptorSet) -> Self {
        let mut numbers = Self::default();
        for file in set.file.iter().filter(|file| file.package().starts_with("mcrun.")) {
            file.message_type.iter().for_each(|message| numbers.message(file.package(), message));
            file.enum_type.iter().for_each(|one| numbers.enumeration(file.package(), one));
        }
        numbers
    }

    fn message(&mut self, parent: &str, message: &DescriptorProto) {
        // Maps are entries of two fields that nobody numbers by hand.
        if message.options.as_ref().is_some_and(|options| options.map_entry()) {
            return;
        }
        let name = format!("{parent}.{}", message.name());
        for field in &message.field {
            self.given.insert((name.clone(), field.number()), field.name().to_owned());
        }
        for range in &message.reserved_range {
            self.reserved.extend((range.start()..range.end()).map(|number| (name.clone(), number)));
        }
        message.nested_type.iter().for_each(|nested| self.message(&name, nested));
        message.enum_type.iter().for_each(|nested| self.enumeration(&name, nested));
    }

    fn enumeration(&mut self, parent: &str, one: &EnumDescriptorProto) {
        let name = format!("{parent}.{}", one.name());
        for value in &one.value {
            self.given.insert((name.clone(), value.number()), value.name().to_owned());
        }
        for range in &one.reserved_range {
            self.reserved.extend((range.start()..=range.end()).map(|number| (name.clone(), number)));
        }
    }
}

/// What is wrong with `now`, given what is `known`.
fn mistakes(known: &str, now: &Numbers) -> Vec<String> {
    let mut found = Vec::new();
    let mut listed = BTreeSet::new();
    for line in known.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let parts: Vec<&str> = line.split(' ').collect();
        let [message, number, name] = parts[..] else { panic!("no line of numbers: {line}") };
        let key = (message.to_owned(), number.parse().unwrap());
        match now.given.get(&key) {
            Some(same) if same == name => {}
            Some(other) => found.push(format!("{message}: {number} was `{name}` and is now `{other}`")),
            None if now.reserved.contains(&key) => {}
            None => found.push(format!("{message}: {number} was `{name}`; reserve the number")),
        }
        assert!(listed.insert(key), "{line} is listed twice");
    }
    for ((message, number), name) in now.given.iter().filter(|(key, _)| !listed.contains(*key)) {
        found.push(format!("not in numbers.txt: {message} {number} {name}"));
    }
    found
}

fn compile(folder: &Path) -> FileDescriptorSet {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension().is_some_and(|end| end == "proto") {
                true => files.push(path),
                false if path.is_dir() => folders.push(path),
                false => {}
            }
        }
    }
    protox::compile(files, [folder]).unwrap()
}

#[test]
fn numbers_are_never_changed_or_reused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let known = std::fs::read_to_string(folder.join("numbers.txt")).unwrap();
    let found = mistakes(&known, &Numbers::of(&compile(&folder)));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_number_that_changes_its_meaning_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let with = |fields: &str| {
        let text = format!("syntax = \"proto3\";\npackage mcrun.v1;\nmessage Route {{ {fields} }}\n");
        std::fs::write(folder.path().join("a.proto"), text).unwrap();
        mistakes("mcrun.v1.Route 1 name\nmcrun.v1.Route 2 port\n", &Numbers::of(&compile(folder.path())))
    };
    assert!(with("string name = 1; uint32 port = 2;").is_empty());
    assert!(with("string name = 1; reserved 2;").is_empty());
    assert_eq!(with("string name = 1; uint32 door = 2;"), ["mcrun.v1.Route: 2 was `port` and is now `door`"]);
    assert_eq!(with("string name = 1;"), ["mcrun.v1.Route: 2 was `port`; reserve the number"]);
    let more = with("string name = 1; uint32 port = 2; bool new = 3;");
    assert_eq!(more, ["not in numbers.txt: mcrun.v1.Route 3 new"]);
}
