//! Owns the list of pure functions: what they are called, take and return, declared once beside what they do. The
//! binding, argument errors, type definitions and reference pages follow from it. Leaves the work to `worker/data`.
//!
//! A pure function computes inside the worker, is no effect and needs no capability.

use crate::worker::data;

/// One pure function.
#[derive(Debug)]
pub struct Function {
    /// `json.decode`.
    pub name: &'static str,
    /// Markdown; the first sentence is the summary.
    pub doc: &'static str,
    /// What it takes, in order.
    pub parameters: &'static [Parameter],
    /// The Luau type of what it returns.
    pub returns: &'static str,
    /// A Luau snippet that runs.
    pub example: &'static str,
    pub(crate) call: data::Call,
}

/// One parameter of a function, or one field of its options.
#[derive(Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// Whether it may be left out.
    pub optional: bool,
    /// One sentence.
    pub doc: &'static str,
}

/// What a parameter takes.
#[derive(Debug, Clone, Copy)]
pub enum Takes {
    /// A string of bytes.
    Text,
    /// A whole number of at least 1.
    Position,
    /// True or false.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Any value.
    Any,
    /// A table with these fields and no others.
    Options(&'static [Parameter]),
}

impl Parameter {
    pub(crate) const fn text(name: &'static str, doc: &'static str) -> Self {
        Self { name, takes: Takes::Text, optional: false, doc }
    }

    pub(crate) const fn any(name: &'static str, doc: &'static str) -> Self {
        Self { name, takes: Takes::Any, optional: false, doc }
    }

    pub(crate) const fn option(name: &'static str, takes: Takes, doc: &'static str) -> Self {
        Self { name, takes, optional: true, doc }
    }

    /// The Luau type, with the `?` of an optional one.
    #[must_use]
    pub fn luau(&self) -> String {
        let (text, is_union) = match self.takes {
            Takes::Text => ("string".to_owned(), false),
            Takes::Position => ("number".to_owned(), false),
            Takes::Flag => ("boolean".to_owned(), false),
            Takes::Any => return "any".to_owned(),
            Takes::Word(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
                (words.join(" | "), words.len() > 1)
            }
            Takes::Options(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|field| format!("{}: {}", field.name, field.luau())).collect();
                (format!("{{ {}, {} }}", fields.join(", "), crate::types::NO_OTHER_FIELD), false)
            }
        };
        match (self.optional, is_union) {
            (false, _) => text,
            (true, false) => format!("{text}?"),
            (true, true) => format!("({text})?"),
        }
    }
}

impl Function {
    /// Its family and its name in it: `json`, `decode`.
    #[must_use]
    pub fn parts(&self) -> (&'static str, &'static str) {
        self.name.split_once('.').expect("every function belongs to a family")
    }

    /// The Luau type of the function, `(text: string) -> any`.
    #[must_use]
    pub fn luau(&self) -> String {
        let parameters: Vec<String> = self
            .parameters
            .iter()
            .map(|parameter| format!("{}: {}", parameter.name, parameter.luau()))
            .collect();
        format!("({}) -> {}", parameters.join(", "), self.returns)
    }
}

/// Every pure function, family by family.
pub fn all() -> impl Iterator<Item = &'static Function> {
    data::FAMILIES.iter().copied().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_has_its_luau_type() {
        let words = Parameter::option("empty", Takes::Word(&["list", "table"]), "");
        assert_eq!(words.luau(), "(\"list\" | \"table\")?");
        const FIELDS: &[Parameter] = &[Parameter::option("pretty", Takes::Flag, "")];
        let options = Parameter::option("options", Takes::Options(FIELDS), "");
        assert_eq!(options.luau(), "{ pretty: boolean?, [string]: never }?");
    }

    #[test]
    fn every_function_is_documented_and_named_once() {
        let mut names: Vec<_> = all().map(|function| function.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(count >= 15, "{names:?}");
        for function in all() {
            assert!(function.doc.contains('.') && !function.example.is_empty(), "{}", function.name);
            let of_options = |parameter: &Parameter| match parameter.takes {
                Takes::Options(fields) => fields.iter().all(|field| !field.doc.is_empty()),
                _ => true,
            };
            assert!(
                function
                    .parameters
                    .iter()
                    .all(|parameter| !parameter.doc.is_empty() && of_options(parameter)),
                "{}",
                function.name
            );
        }
    }
}
