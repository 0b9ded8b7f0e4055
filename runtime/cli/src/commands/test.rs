//! Owns `test`: every test of a script runs by itself, in a world of its own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use effect::policy::Grants;
use effect::{Code, Error, Mode, Result};
use journal::RunState;
use serde_json::{Value, json};

use super::check::scripts_beneath;
use super::evaluate::script_job;
use crate::arguments::Global;
use crate::execute::{self, Trouble};
use crate::exit::Exit;
use crate::kit::{Kit, Recorder};
use crate::render;

/// One test, or a file that cannot be used.
struct Outcome {
    file: PathBuf,
    /// The test's name; none of a file as a whole.
    name: Option<String>,
    /// Why it failed, as text; nothing when it passed.
    failure: Option<Failure>,
}

struct Failure {
    error: Error,
    place: Option<journal::Place>,
    text: String,
    output: Vec<String>,
}

pub(super) async fn test(
    global: &Global,
    paths: &[PathBuf],
    filter: Option<&str>,
    as_json: bool,
) -> Result<Exit> {
    let mut outcomes = Vec::new();
    for file in files(paths)? {
        if !as_json {
            render::note(render::styled(render::BOLD, file.display()));
        }
        let before = outcomes.len();
        run_file(global, &file, filter, &mut outcomes, !as_json).await?;
        if !as_json && outcomes.len() == before {
            render::note(render::styled(render::DIM, "  no test of that name"));
        }
    }
    let failed = outcomes.iter().filter(|outcome| outcome.failure.is_some()).count();
    if as_json {
        render::json(&outcomes.iter().map(to_json).collect::<Vec<_>>());
    } else {
        render::note(format_args!(
            "{}: {} passed, {failed} failed",
            render::count(outcomes.len() as u64, "test"),
            outcomes.len() - failed
        ));
    }
    if outcomes.is_empty() {
        return Err(
            Error::new(Code::TestFile, "no test has this name").hint("`--filter` takes a part of a name")
        );
    }
    Ok(if failed == 0 { Exit::Done } else { Exit::Failed })
}

/// The test files of `paths`.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let here = [PathBuf::from(".")];
    let mut files = Vec::new();
    for path in if paths.is_empty() { &here } else { paths } {
        if path.is_dir() {
            let names = scripts_beneath(path)?;
            let tests =
                names.iter().filter(|name| name.ends_with(".test.lua") || name.ends_with(".test.luau"));
            files.extend(tests.map(|name| path.join(name)));
        } else {
            files.push(path.clone());
        }
    }
    if files.is_empty() {
        return Err(Error::new(Code::TestFile, "there is no test file")
            .hint("test files end with .test.lua; `mcrun new FOLDER` shows one"));
    }
    Ok(files)
}

async fn run_file(
    global: &Global,
    file: &Path,
    filter: Option<&str>,
    outcomes: &mut Vec<Outcome>,
    shown: bool,
) -> Result<()> {
    let mut ended = |name: Option<String>, failure: Option<Failure>| {
        let outcome = Outcome { file: file.to_owned(), name, failure };
        if shown {
            show(&outcome);
        }
        outcomes.push(outcome);
    };
    let (names, failure) = evaluate(global, file, None).await?;
    if let Some(failure) = failure {
        ended(None, Some(failure));
        return Ok(());
    }
    if names.is_empty() {
        let error = Error::new(Code::TestFile, format!("`{}` has no tests", file.display()))
            .hint("local test = require(\"@std/test\"), then test(\"what holds\", function() … end)");
        ended(None, Some(Failure::of(error)));
        return Ok(());
    }
    for name in names.into_iter().filter(|name| filter.is_none_or(|filter| name.contains(filter))) {
        let (came_up, failure) = evaluate(global, file, Some(name.clone())).await?;
        let failure = failure.or_else(|| {
            let missing = !came_up.contains(&name);
            missing.then(|| {
                Failure::of(
                    Error::new(Code::TestFile, format!("the test `{name}` did not come up again"))
                        .hint("the names of tests must not depend on anything that changes"),
                )
            })
        });
        ended(Some(name), failure);
    }
    Ok(())
}

/// Runs a file with one of its tests, or with none to learn their names.
async fn evaluate(
    global: &Global,
    file: &Path,
    selected: Option<String>,
) -> Result<(Vec<String>, Option<Failure>)> {
    let real = std::fs::canonicalize(file).map_err(|error| {
        Error::new(Code::Unreadable, format!("the test file `{}` cannot be read", file.display()))
            .because(error)
    })?;
    let kit = Kit::new(global, real.parent().unwrap_or(Path::new("/")), selected)?;
    let app = kit.app()?;
    let grants = Grants { allow: vec!["*".to_owned()], ..Grants::default() };
    let job = script_job(&app, file, Mode::Run, grants)?;
    let (name, source) = (job.name.clone(), job.source.clone());
    let watch = Arc::new(Recorder::of(&kit));
    let lock = app.journal.lock_run(&job.id)?;
    let begun = execute::begin(&app, execute::new_run(&app, &job, file));
    let finished = execute::run(&app, job, watch.clone(), lock, begun).await?;
    let failure = match (finished.state, finished.trouble) {
        (RunState::Done, _) => None,
        (_, Some(trouble)) => {
            let mut sources = watch.sources.lock().unwrap_or_else(PoisonError::into_inner).clone();
            sources.insert(name, source);
            Some(Failure::from(trouble, &sources, watch.lines()))
        }
        (state, None) => {
            let error = Error::new(Code::Expectation, format!("the test ended {state}"));
            Some(Failure::of(error))
        }
    };
    Ok((kit.names(), failure))
}

impl Failure {
    fn of(error: Error) -> Self {
        let text = render::trouble(&error, None, &[], None);
        Self { error, place: None, text, output: Vec::new() }
    }

    fn from(
        trouble: Trouble,
        sources: &std::collections::HashMap<String, String>,
        output: Vec<String>,
    ) -> Self {
        // What a test sees is its own line, not the library's that found the difference.
        let own = trouble.stack.iter().find(|frame| !frame.place.file.starts_with('@'));
        let place = own
            .map(|frame| journal::Place { file: frame.place.file.clone(), line: frame.place.line })
            .or(trouble.place);
        let source = place.as_ref().and_then(|place| sources.get(&place.file)).map(String::as_str);
        let text = render::trouble(&trouble.error, place.as_ref(), &trouble.stack, source);
        Self { error: trouble.error, place, text, output }
    }
}

fn show(outcome: &Outcome) {
    let name = render::printable(outcome.name.as_deref().unwrap_or("the file as a whole"));
    let Some(failure) = &outcome.failure else {
        return render::note(format_args!("  {} {name}", render::styled(render::GREEN, "✓")));
    };
    render::note(format_args!("  {} {name}", render::styled(render::RED, "✗")));
    for line in failure.text.lines() {
        render::note(format_args!("      {line}"));
    }
    for line in &failure.output {
        render::note(format_args!("      {} {}", render::styled(render::DIM, "│"), line));
    }
}

fn to_json(outcome: &Outcome) -> Value {
    let failure = outcome.failure.as_ref();
    json!({
        "file": outcome.file,
        "name": outcome.name,
        "passed": failure.is_none(),
        "error": failure.map(|failure| &failure.error),
        "place": failure.and_then(|failure| failure.place.as_ref()),
        "output": failure.map(|failure| &failure.output),
    })
}
