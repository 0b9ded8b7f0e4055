//! Owns the names of types: each definition of a schema gets one, prefixed by its primitive where two differ.

use std::collections::{BTreeMap, BTreeSet};

use effect::declaration::Declaration;
use serde_json::Value;

use super::shape::Shape;

/// The schema that a definition was found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner<'a> {
    effect: &'a str,
    is_result: bool,
}

impl<'a> Owner<'a> {
    pub(super) fn parameters(declaration: &'a Declaration) -> Self {
        Self { effect: declaration.name, is_result: false }
    }

    pub(super) fn result(declaration: &'a Declaration) -> Self {
        Self { effect: declaration.name, is_result: true }
    }

    fn primitive(self) -> &'a str {
        self.effect.split('.').next().unwrap_or(self.effect)
    }
}

/// One type that is written out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Definition<'a> {
    pub(super) owner: Owner<'a>,
    pub(super) schema: &'a Value,
}

/// How far a name must be qualified to be unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Plain,
    Primitive,
    Effect,
}

/// The names of all definitions.
pub(super) struct Names<'a> {
    roots: BTreeMap<Owner<'a>, Root<'a>>,
    definitions: BTreeMap<String, Definition<'a>>,
}

struct Root<'a> {
    schema: &'a Value,
    name: Box<dyn Fn(&str) -> String + 'a>,
}

type Occurrences<'a> = BTreeMap<&'a str, Vec<Definition<'a>>>;

impl<'a> Names<'a> {
    /// Names every definition of `declarations`; `reserved` names are taken.
    pub(super) fn new(declarations: &[&'a Declaration], reserved: &[&str]) -> Self {
        let mut roots: Vec<(Owner<'a>, &'a Value)> = Vec::new();
        for declaration in declarations {
            roots.push((Owner::parameters(declaration), &declaration.parameters));
            roots.push((Owner::result(declaration), &declaration.result));
        }
        let mut taken: BTreeSet<String> = reserved.iter().map(|name| (*name).to_owned()).collect();
        taken.extend(declarations.iter().map(|declaration| pascal(declaration.name)));
        let occurrences = collect(&roots);
        let levels = levels(&occurrences, &taken);
        let mut definitions = BTreeMap::new();
        for (name, found) in &occurrences {
            for definition in found {
                definitions.entry(qualified(name, levels[name], definition.owner)).or_insert(*definition);
            }
        }
        let named = |owner: Owner<'a>| {
            let levels = levels.clone();
            move |name: &str| qualified(name, levels.get(name).copied().unwrap_or(Level::Plain), owner)
        };
        let roots =
            roots.into_iter().map(|(owner, schema)| (owner, Root { schema, name: Box::new(named(owner)) }));
        Self { roots: roots.collect(), definitions }
    }

    /// Every type in order of its name.
    pub(super) fn definitions(&self) -> impl Iterator<Item = (&String, &Definition<'a>)> {
        self.definitions.iter()
    }

    /// The translation of the schema that `owner` names.
    pub(super) fn shape(&self, owner: Owner<'a>) -> Shape<'_> {
        let root = &self.roots[&owner];
        Shape::new(root.schema, &*root.name)
    }
}

fn collect<'a>(roots: &[(Owner<'a>, &'a Value)]) -> Occurrences<'a> {
    let mut occurrences = Occurrences::new();
    for (owner, root) in roots {
        let found = root.get("$defs").and_then(Value::as_object).into_iter().flatten();
        for (name, schema) in found.filter(|(_, schema)| schema.get("x-secret").is_none()) {
            occurrences.entry(name).or_default().push(Definition { owner: *owner, schema });
        }
    }
    occurrences
}

/// The level of each name: the first at which all that share it are the same type.
fn levels<'a>(occurrences: &Occurrences<'a>, taken: &BTreeSet<String>) -> BTreeMap<&'a str, Level> {
    let mut levels: BTreeMap<&'a str, Level> = BTreeMap::new();
    for (name, found) in occurrences {
        levels.insert(name, level(name, found, taken));
    }
    // What refers to a qualified type differs from place to place as well.
    loop {
        let raised: Vec<(&'a str, Level)> = occurrences
            .iter()
            .filter_map(|(name, found)| {
                let needed =
                    found.iter().flat_map(|d| references(d.schema)).filter_map(|r| levels.get(r)).max()?;
                (*needed > levels[name]).then_some((*name, *needed))
            })
            .collect();
        if raised.is_empty() {
            return levels;
        }
        levels.extend(raised);
    }
}

fn level(name: &str, found: &[Definition<'_>], taken: &BTreeSet<String>) -> Level {
    let same = |a: &Definition<'_>, b: &Definition<'_>| a.schema == b.schema;
    let all_same = found.windows(2).all(|pair| same(&pair[0], &pair[1]));
    if all_same && !taken.contains(&pascal(name)) {
        return Level::Plain;
    }
    let within_primitives = found
        .iter()
        .all(|a| found.iter().filter(|b| a.owner.primitive() == b.owner.primitive()).all(|b| same(a, b)));
    let free = found.iter().all(|d| !taken.contains(&qualified(name, Level::Primitive, d.owner)));
    if within_primitives && free { Level::Primitive } else { Level::Effect }
}

fn references(schema: &Value) -> Vec<&str> {
    match schema {
        Value::Object(fields) => {
            let own =
                fields.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix("#/$defs/"));
            own.into_iter().chain(fields.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

fn qualified(name: &str, level: Level, owner: Owner<'_>) -> String {
    let name = pascal(name);
    match level {
        Level::Plain => name,
        Level::Primitive => format!("{}{name}", pascal(owner.primitive())),
        Level::Effect if owner.is_result => format!("{}Result{name}", pascal(owner.effect)),
        Level::Effect => format!("{}With{name}", pascal(owner.effect)),
    }
}

/// `containers.wait_healthy` → `ContainersWaitHealthy`; what is PascalCase already stays.
pub(super) fn pascal(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(|word| format!("{}{}", word[..1].to_ascii_uppercase(), &word[1..])).collect()
}
