//! Owns what a program is handed when some of it is secret: arguments, environment, input, and what is masked in its
//! output afterwards.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use effect::secret::Secret;
use effect::{Code, Context, Error, Result, Text};
use zeroize::Zeroizing;

use super::process::{Ending, Failure};
use super::program;

/// Shorter secrets would turn ordinary output into riddles.
const SHORTEST_MASKED: usize = 4;

/// What a call hands to its program, secrets by name.
pub(super) struct Handed<'a> {
    pub(super) argv: &'a [Text],
    pub(super) env: &'a BTreeMap<String, Text>,
    pub(super) stdin: Option<&'a Text>,
}

/// The same with its secrets opened.
pub(super) struct Opened {
    pub(super) argv: Vec<OsString>,
    pub(super) environment: BTreeMap<OsString, OsString>,
    pub(super) stdin: Option<Zeroizing<Vec<u8>>>,
    pub(super) masks: Masks,
}

/// What is replaced in a program's output, with what is shown instead.
#[derive(Default)]
pub(super) struct Masks(Vec<(String, Zeroizing<Vec<u8>>)>);

impl Masks {
    pub(super) fn add(&mut self, secret: &Secret, value: Zeroizing<Vec<u8>>) {
        if value.len() >= SHORTEST_MASKED {
            self.0.push((secret.to_string(), value));
        }
    }

    /// Masks what a program wrote, however it ended.
    pub(super) fn apply(&self, ended: &mut Result<Ending, Failure>) {
        let ending = match ended {
            Ok(ending) => ending,
            Err(Failure::TimedOut { ending, .. }) => ending,
            Err(Failure::Start(_) | Failure::Lost) => return,
        };
        for (shown, value) in &self.0 {
            ending.mask(value, shown);
        }
    }
}

/// The name of the program, which is never a secret.
pub(super) fn program_name<'a>(effect: &str, argv: &'a [Text]) -> Result<&'a str> {
    match argv.first() {
        None => Ok(""),
        Some(Text::Plain(name)) => Ok(name),
        Some(Text::Secret(_)) => Err(refused(effect, "argv[1]", "which names the program")),
    }
}

/// The environment in the clear, in which the program is looked for.
pub(super) fn plain_environment(
    effect: &str,
    env: &BTreeMap<String, Text>,
) -> Result<BTreeMap<String, String>> {
    if env.get("PATH").is_some_and(|path| path.plain().is_none()) {
        return Err(refused(effect, "env.PATH", "in which the program is looked for"));
    }
    Ok(env.iter().filter_map(|(name, text)| Some((name.clone(), text.plain()?.to_owned()))).collect())
}

fn refused(effect: &str, field: &str, why: &str) -> Error {
    Error::new(Code::SecretPlace, format!("`{effect}`: field `{field}`, {why}, does not take a secret"))
}

/// Where a secret goes that a program gets.
pub(super) fn destination(program: &Path) -> String {
    format!("exec:{}", program.display())
}

/// The argument vector for people: secrets by their names.
pub(super) fn shown(argv: &[Text]) -> Vec<String> {
    argv.iter().map(Text::to_string).collect()
}

impl Handed<'_> {
    /// Whether every secret may go to the program.
    pub(super) fn admit(&self, program: &Path, context: &Context) -> Result<()> {
        let destination = destination(program);
        let texts = self.argv.iter().chain(self.env.values()).chain(self.stdin);
        texts.into_iter().try_for_each(|text| text.may_go(context, &destination))
    }

    /// Opens the secrets for the program.
    pub(super) async fn open(&self, program: &Path, context: &Context) -> Result<Opened> {
        let destination = destination(program);
        let mut masks = Masks::default();
        let mut argv = Vec::with_capacity(self.argv.len());
        for (index, text) in self.argv.iter().enumerate() {
            let value = open_one(text, context, &destination, &mut masks).await?;
            argv.push(word(&format!("argv[{}]", index + 1), text, &value)?);
        }
        let mut environment = program::environment(&BTreeMap::new())?;
        for (name, text) in self.env {
            program::check_name(name)?;
            let value = open_one(text, context, &destination, &mut masks).await?;
            environment.insert(name.into(), word(&format!("env.{name}"), text, &value)?);
        }
        let stdin = match self.stdin {
            Some(text) => Some(open_one(text, context, &destination, &mut masks).await?),
            None => None,
        };
        Ok(Opened { argv, environment, stdin, masks })
    }
}

async fn open_one(
    text: &Text,
    context: &Context,
    destination: &str,
    masks: &mut Masks,
) -> Result<Zeroizing<Vec<u8>>> {
    let value = text.reveal(context, destination).await?;
    if let Some(secret) = text.secret() {
        masks.add(secret, value.clone());
    }
    Ok(value)
}

/// The system's own message about a NUL byte would not name the field.
fn word(field: &str, text: &Text, value: &[u8]) -> Result<OsString> {
    if value.contains(&0) {
        let what = text.secret().map_or_else(|| "its text".to_owned(), Secret::to_string);
        let message = format!("field `{field}`: {what} contains a NUL byte, which no argument can hold");
        return Err(Error::new(Code::Argument, message));
    }
    Ok(OsString::from_vec(value.to_vec()))
}
