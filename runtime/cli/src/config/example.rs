//! Owns the proof that `deploy/mcrun.toml` tells the truth: it is read as it is, every key that it switches off can be
//! switched on by itself, and no key that the program knows is missing from it.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::Config;

const EXAMPLE: &str = include_str!("../../../../deploy/mcrun.toml");
/// A key that nobody knows.
const UNKNOWN: &str = "unknown-to-everybody";

/// A line that is switched off, as it would be.
fn switched_on(line: &str) -> Option<&str> {
    // What explains begins with a blank.
    line.strip_prefix('#')
        .filter(|rest| rest.starts_with(|sign: char| sign.is_ascii_lowercase() || "[\"".contains(sign)))
}

/// The example with every line switched on for which `is_wanted`.
fn with(is_wanted: impl Fn(usize) -> bool) -> String {
    let line = |(number, line): (usize, &'static str)| match switched_on(line) {
        Some(on) if is_wanted(number) => on,
        _ => line,
    };
    EXAMPLE.lines().enumerate().map(line).flat_map(|line| [line, "\n"]).collect()
}

/// The table that each line stands in: the number of its header.
fn headers() -> Vec<usize> {
    let mut header = 0;
    EXAMPLE
        .lines()
        .enumerate()
        .map(|(number, line)| {
            if switched_on(line).is_some_and(|on| on.starts_with('[')) {
                header = number;
            }
            header
        })
        .collect()
}

/// Every table of a document, with the way to it.
fn tables(value: &Value, way: &[String], found: &mut Vec<Vec<String>>) {
    match value {
        Value::Table(table) => {
            found.push(way.to_vec());
            for (key, value) in table {
                tables(value, &[way, std::slice::from_ref(key)].concat(), found);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                tables(value, &[way, &[index.to_string()]].concat(), found);
            }
        }
        _ => {}
    }
}

fn at<'a>(value: &'a mut Value, way: &[String]) -> &'a mut Table {
    let found = way.iter().fold(value, |value, word| match value {
        Value::Table(table) => &mut table[word.as_str()],
        Value::Array(values) => &mut values[word.parse::<usize>().unwrap()],
        other => panic!("{other} is no table"),
    });
    found.as_table_mut().unwrap()
}

/// The line that has what a table needs: a key of its own, or the header of a table in it.
fn missing(error: &toml::de::Error, text: &str, lines: &[&str], headers: &[usize]) -> Option<usize> {
    let name = error.message().strip_prefix("missing field `")?.split('`').next()?;
    // The error points at the table's header, or at its name in that of a table beneath it.
    let place = error.span()?;
    let begin = text[..place.start].rfind('\n').map_or(0, |end| end + 1);
    let own = text[begin..place.end].trim_matches(['[', ']']);
    let is_own = |number: usize| {
        switched_on(lines[headers[number]]).is_some_and(|on| on.trim_matches(['[', ']']) == own)
    };
    let (key, table) = (format!("#{name} ="), format!("#[{own}.{name}"));
    (0..lines.len())
        .find(|&number| lines[number].starts_with(&key) && is_own(number))
        .or_else(|| (0..lines.len()).find(|&number| lines[number].starts_with(&table)))
}

#[test]
fn the_example_is_read_as_it_is() {
    let config: Config = toml::from_str(EXAMPLE).unwrap();
    config.check().unwrap();
    let switched_off = EXAMPLE.lines().all(|line| line.is_empty() || line.starts_with('#'));
    assert!(switched_off, "a setting that is on would be everybody's");
}

#[test]
fn every_key_of_the_example_can_be_switched_on_by_itself() {
    let headers = headers();
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    let keys: Vec<usize> = (0..lines.len()).filter(|&number| switched_on(lines[number]).is_some()).collect();
    assert!(keys.len() > 150, "{} keys are not many", keys.len());
    for &key in &keys {
        let mut wanted = BTreeSet::from([key, headers[key]]);
        // Some tables need more than one key; serde names what is missing, and where.
        let error = loop {
            let text = with(|number| wanted.contains(&number));
            let Err(error) = toml::from_str::<Config>(&text) else { break None };
            match missing(&error, &text, &lines, &headers) {
                Some(number) if wanted.insert(number) => drop(wanted.insert(headers[number])),
                _ => break Some(error),
            }
        };
        assert!(error.is_none(), "deploy/mcrun.toml:{}: {}\n{}", key + 1, lines[key], error.unwrap());
    }
}

#[test]
fn no_key_is_missing_from_the_example() {
    let whole = with(|_| true);
    toml::from_str::<Config>(&whole).unwrap();
    let value: Value = toml::from_str(&whole).unwrap();
    let mut ways = Vec::new();
    tables(&value, &[], &mut ways);
    // Tables of one kind know the same keys. Where a name is the user's there may be several, of which one has the key.
    let mut kinds: BTreeMap<String, (Vec<String>, BTreeSet<String>)> = BTreeMap::new();
    // Parameters of playbooks have whatever names they have.
    for way in ways.into_iter().filter(|way| way.last().is_none_or(|name| name != "params")) {
        let mut changed = value.clone();
        let table = at(&mut changed, &way);
        let there: BTreeSet<String> = table.keys().cloned().collect();
        table.insert(UNKNOWN.into(), Value::Integer(0));
        let text = toml::to_string(&changed).unwrap();
        let error = toml::from_str::<Config>(&text).err().map(|error| error.message().to_owned());
        let message = error.unwrap_or_else(|| panic!("[{}] takes any key", way.join(".")));
        // Tables whose keys are names that users choose say something else of a value of the wrong type.
        let Some(known) = message.strip_prefix(&format!("unknown field `{UNKNOWN}`, expected ")) else {
            continue;
        };
        let kind = kinds.entry(known.to_owned()).or_default();
        kind.0.push(way.join("."));
        kind.1.extend(there);
    }
    assert!(kinds.len() > 20, "only {} kinds of tables were looked at", kinds.len());
    let missing: Vec<String> = kinds
        .iter()
        .flat_map(|(known, (ways, there))| {
            let known = known.split('`').skip(1).step_by(2);
            known.filter(|key| !there.contains(*key)).map(|key| format!("[{}] {key}", ways.join(", ")))
        })
        .collect();
    assert_eq!(missing, Vec::<String>::new(), "keys that deploy/mcrun.toml does not explain");
}
