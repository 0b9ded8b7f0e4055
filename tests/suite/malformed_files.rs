//! Files that mcrun has written and somebody else has changed: saved plans and exported runs, damaged from seeds, or changed in
//! one value with the hash put right. They are refused with a code, or shown as what they are.

use std::fs;
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::Place;
use crate::malformed_texts::{Numbers, is_told};

const SCRIPT: &str = "
step('write', function() files.write { path = args[1] .. '/a', content = 'x' } end)
exec.run { argv = { '/bin/echo', 'hello' }, assume = { code = 0, stdout = '', stderr = '' } }
log.info('a line', { at = now() })
parallel { a = function() files.write { path = args[1] .. '/b', content = 'y' } end }
pcall(files.read, { path = args[1] .. '/none' })
";

/// `bytes` damaged in one of four ways.
fn damaged(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut numbers = Numbers::of(seed + 7);
    let mut bytes = bytes.to_vec();
    let at = numbers.below(bytes.len());
    match seed % 4 {
        0 => bytes.truncate(at),
        1 => bytes[at] ^= 1 << numbers.below(8),
        2 => {
            let end = (at + numbers.below(200)).min(bytes.len());
            bytes.drain(at..end);
        }
        _ => {
            let end = (at + numbers.below(200)).min(bytes.len());
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
    }
    bytes
}

#[test]
fn a_saved_plan_that_was_changed_is_refused() {
    let place = Place::new();
    let script = place.script("a.lua", SCRIPT);
    let plan = place.at("plan");
    place.run(&["plan", &script, place.path().to_str().unwrap(), "--allow", "*", "--out", &plan]);
    let sound = fs::read(&plan).expect("the plan was saved");
    for seed in 0..60 {
        let bytes = damaged(&sound, seed);
        if bytes == sound {
            continue;
        }
        fs::write(&plan, bytes).unwrap();
        let started = Instant::now();
        let seen = place.run(&["apply", &plan]);
        is_told(&seen, started, &format!("a plan, seed {seed}"));
        assert_ne!(seen.code, Some(0), "seed {seed}: {seen}");
        assert!(!place.path().join("a").exists(), "seed {seed}: it was carried out");
    }
    for path in ["/dev/zero", "/dev/null", "/proc/self/mem", "/", "/nonexistent"] {
        let started = Instant::now();
        let seen = place.run(&["apply", path]);
        is_told(&seen, started, path);
        assert_ne!(seen.code, Some(0), "{path}: {seen}");
    }
}

/// A run that was exported.
fn exported(place: &Place) -> Vec<u8> {
    let script = place.script("a.lua", SCRIPT);
    place.ends(0, &[&script, place.path().to_str().unwrap(), "--allow", "*"]);
    let file = place.at("export");
    place.ends(0, &["export", &place.newest_id(), "--out", &file]);
    fs::read(file).unwrap()
}

#[test]
fn an_exported_run_that_was_damaged_is_refused() {
    let place = Place::new();
    let sound = exported(&place);
    let other = Place::new();
    let file = other.at("export");
    for seed in 0..60 {
        let bytes = damaged(&sound, seed);
        if bytes == sound {
            continue;
        }
        fs::write(&file, bytes).unwrap();
        let started = Instant::now();
        let seen = other.run(&["import", &file]);
        is_told(&seen, started, &format!("an export, seed {seed}"));
        assert_ne!(seen.code, Some(0), "seed {seed}: {seen}");
    }
    assert_eq!(other.runs(), Vec::<Value>::new());
    fs::write(&file, &sound).unwrap();
    other.ends(0, &["import", &file]);
    assert_eq!(other.runs().len(), 1);
}

/// The places of all single values.
fn places(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                places(inner, format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                places(inner, format!("{at}/{index}"), found);
            }
        }
        _ => found.push(at),
    }
}

/// The export with one value changed, and the hash at its end put right.
fn forged(lines: &[Value], line: usize, place: &str, value: &Value) -> String {
    let mut lines = lines.to_vec();
    *lines[line].pointer_mut(place).unwrap() = value.clone();
    let end = lines.pop().unwrap();
    assert!(end["end"]["hash"].is_string(), "{end}");
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let hash = blake3::hash(text.as_bytes()).to_hex().to_string();
    format!("{text}{}\n", json!({ "end": { "hash": hash } }))
}

#[test]
fn an_exported_run_that_was_forged_is_refused_or_shown() {
    let place = Place::new();
    let sound = String::from_utf8(exported(&place)).unwrap();
    let lines: Vec<Value> = sound.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let values = [
        Value::Null,
        json!(-1),
        json!(1e300),
        json!("\u{1b}[2J../x\0"),
        json!(u64::MAX),
        json!([{}]),
        json!("{"),
    ];
    let mut all = Vec::new();
    for (line, value) in lines[..lines.len() - 1].iter().enumerate() {
        let mut found = Vec::new();
        places(value, String::new(), &mut found);
        all.extend(found.into_iter().map(|place| (line, place)));
    }
    assert!(all.len() > 60, "{} values", all.len());
    let (mut taken, mut tried) = (0, 0);
    let step = all.len().div_ceil(90);
    for (index, (line, at)) in all.iter().enumerate().step_by(step) {
        let value = &values[index / step % values.len()];
        let what = format!("line {line}, {at} = {value}");
        let other = Place::new();
        let file = other.at("export");
        fs::write(&file, forged(&lines, *line, at, value)).unwrap();
        let started = Instant::now();
        let seen = other.run(&["import", &file]);
        is_told(&seen, started, &what);
        tried += 1;
        if seen.code != Some(0) {
            continue;
        }
        taken += 1;
        let Some(run) = other.runs().first().map(|run| run["id"].as_str().unwrap().to_owned()) else {
            continue;
        };
        for words in
            [&["show", &run][..], &["show", &run, "--json"], &["logs", &run], &["undo", &run, "--plan"]]
        {
            let started = Instant::now();
            is_told(&other.run(words), started, &format!("{what}: {words:?}"));
        }
    }
    assert!(tried > 50 && taken > 5, "{taken} of {tried} were taken in");
}
