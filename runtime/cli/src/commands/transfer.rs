//! Owns `export` and `import`: a run as a file of JSON lines without secrets, for whoever is to look into a problem.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use effect::secret::without_boxes;
use effect::{Code, Error, Result, Secrets};
use journal::{Part, Run};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::app::App;
use crate::exit::Exit;
use crate::private::Draft;
use crate::{render, wiring};

const VERSION: u32 = 1;
const PAGE: usize = 1000;
/// A result has 16 MiB at most, and as JSON within JSON it grows.
const LONGEST_LINE: u64 = 96 << 20;
const LARGEST_FILE: u64 = 2 << 30;

/// One line of the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Header(Box<Header>),
    Part(Part),
    /// The hash of every line before: a file that was cut has no end.
    End {
        hash: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    mcrun_export: u32,
    run: Run,
    source: String,
    /// The steps of the saved plan that it carries out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    planned: Option<Value>,
}

pub(super) async fn export(app: &App, prefix: &str, out: Option<PathBuf>) -> Result<Exit> {
    let run = app.journal.run(prefix).await?;
    let file = out.unwrap_or_else(|| PathBuf::from(format!("mcrun-{}.jsonl", run.id)));
    let secrets = revealed(app).await?;
    let mut export = Export::begin(&file, secrets)?;
    export.header(&run, app.journal.planned(&run.id).await?)?;
    for (name, text) in app.journal.sources(&run.id).await? {
        export.part(Part::Module { name, text })?;
    }
    for span in app.journal.spans(&run.id).await? {
        export.part(Part::Fold(span))?;
    }
    let mut after = Some(0);
    while let Some(last) = after {
        let page = app.journal.entries(&run.id, last, PAGE).await?;
        // The page behind the last completed entry has the begun ones, and there is none behind it.
        after = page.last().and_then(|entry| entry.order);
        page.into_iter().try_for_each(|entry| export.part(Part::Entry(Box::new(entry))))?;
    }
    let mut after = 0;
    loop {
        let page = app.journal.logs(&run.id, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.order;
        page.into_iter().try_for_each(|log| export.part(Part::Log(Box::new(log))))?;
    }
    export.end()?;
    render::note(format_args!(
        "run {} is in {}; look through it before you pass it on",
        run.id,
        file.display()
    ));
    Ok(Exit::Done)
}

/// Every secret that is configured, opened so that copies of it are found. Nothing lies in the folder that is named.
async fn revealed(app: &App) -> Result<Arc<dyn Secrets>> {
    let secrets = wiring::secrets(app, Path::new("/dev/null"))?;
    let sealed = app.vault.heads().await?;
    let versions = sealed.iter().flat_map(|(name, head)| {
        let kept = head.versions.iter();
        kept.map(move |kept| (name, Some(kept.version)))
    });
    for (name, version) in app.config.secrets.keys().map(|name| (name, None)).chain(versions) {
        if let Err(error) = secrets.reveal_version(name, version).await {
            render::note(format_args!("copies of secret `{name}` are not looked for: {error}"));
        }
    }
    Ok(secrets)
}

struct Export {
    draft: Draft,
    file: PathBuf,
    hash: blake3::Hasher,
    secrets: Arc<dyn Secrets>,
}

impl Export {
    fn begin(file: &Path, secrets: Arc<dyn Secrets>) -> Result<Self> {
        let draft = Draft::of(file).map_err(|error| unwritable(file, &error))?;
        Ok(Self { draft, file: file.to_owned(), hash: blake3::Hasher::new(), secrets })
    }

    fn header(&mut self, run: &Run, planned: Option<String>) -> Result<()> {
        let planned = planned.and_then(|steps| serde_json::from_str(&steps).ok());
        let source = run.source.to_string();
        let header = Header { mcrun_export: VERSION, run: run.clone(), source, planned };
        self.line(&Line::Header(Box::new(header)))
    }

    fn part(&mut self, part: Part) -> Result<()> {
        self.line(&Line::Part(part))
    }

    fn end(mut self) -> Result<()> {
        let hash = self.hash.finalize().to_hex().to_string();
        self.line(&Line::End { hash })?;
        self.draft.keep().map_err(|error| unwritable(&self.file, &error))
    }

    fn line(&mut self, line: &Line) -> Result<()> {
        let mut value = serde_json::to_value(line)
            .map_err(|error| Error::new(Code::Internal, "a line cannot be encoded").because(error))?;
        if !matches!(line, Line::End { .. }) {
            value = self.without_secrets(value);
        }
        let text = format!("{value}\n");
        self.hash.update(text.as_bytes());
        self.draft.write_all(text.as_bytes()).map_err(|error| unwritable(&self.file, &error))
    }

    fn without_secrets(&self, mut line: Value) -> Value {
        // What is stored as a text of JSON is looked through as what it means.
        for (part, fields) in
            [("entry", &["arguments", "before", "change", "result"][..]), ("log", &["fields"])]
        {
            let Some(part) = line.get_mut("part").and_then(|line| line.get_mut(part)) else { continue };
            for field in fields {
                let Some(text) = part.get(field).and_then(Value::as_str) else { continue };
                if let Ok(meant) = serde_json::from_str::<Value>(text) {
                    part[field] = Value::from(self.masked(without_boxes(meant)).to_string());
                }
            }
        }
        self.masked(line)
    }

    fn masked(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.secrets.mask(&text).into_owned()),
            Value::Array(items) => items.into_iter().map(|item| self.masked(item)).collect(),
            Value::Object(fields) => {
                fields.into_iter().map(|(name, field)| (name, self.masked(field))).collect()
            }
            other => other,
        }
    }
}

fn unwritable(file: &Path, error: &std::io::Error) -> Error {
    Error::new(Code::ExportUnusable, format!("the run cannot be written to `{}`", file.display()))
        .because(error)
        .hint("check the folder and its permissions, or name another file with `-o`")
}

pub(super) async fn import(app: &App, file: &Path) -> Result<Exit> {
    let mut lines = Lines::open(file)?;
    let header = match lines.next_line()? {
        Some(Line::Header(header)) => header,
        _ => return Err(unusable(file, "it does not begin like one")),
    };
    if header.mcrun_export != VERSION {
        let cause = format!("it has version {}, this mcrun knows {VERSION}", header.mcrun_export);
        return Err(unusable(file, &cause));
    }
    let id = header.run.id;
    let run = header.run.with_source(&header.source);
    let planned = header.planned.map(|steps| steps.to_string());
    match app.journal.import(run, planned, Parts(lines)).await {
        Ok(()) => {}
        Err(error) if error.code == Code::Internal => {
            return Err(Error::new(Code::RunState, format!("run {id} is here already"))
                .hint(format!("look at it: `mcrun show {id}`")));
        }
        Err(error) if error.code == Code::ExportUnusable && !error.message.contains('`') => {
            return Err(unusable(file, &error.message));
        }
        Err(error) => return Err(error),
    }
    render::note(format_args!("run {id} is here to be looked at: `mcrun show {id}`"));
    Ok(Exit::Done)
}

fn unusable(file: &Path, cause: &str) -> Error {
    Error::new(
        Code::ExportUnusable,
        format!("`{}` is no run that mcrun has exported, or damaged", file.display()),
    )
    .because(cause)
}

/// The lines of a file, whose end must fit what came before.
struct Lines {
    reader: BufReader<std::io::Take<File>>,
    file: PathBuf,
    hash: blake3::Hasher,
    ended: bool,
}

impl Lines {
    fn open(file: &Path) -> Result<Self> {
        let unreadable = |error: &dyn std::fmt::Display| {
            Error::new(Code::ExportUnusable, format!("`{}` cannot be read", file.display())).because(error)
        };
        let is_file = std::fs::metadata(file).map_err(|error| unreadable(&error))?.is_file();
        if !is_file {
            return Err(unreadable(&"it is not a regular file"));
        }
        let opened = File::open(file).map_err(|error| unreadable(&error))?;
        Ok(Self {
            reader: BufReader::new(opened.take(LARGEST_FILE)),
            file: file.to_owned(),
            hash: blake3::Hasher::new(),
            ended: false,
        })
    }

    /// The next line; none behind the end.
    fn next_line(&mut self) -> Result<Option<Line>> {
        if self.ended {
            return Ok(None);
        }
        let wrong = |cause: &dyn std::fmt::Display| unusable(&self.file, &cause.to_string());
        let mut bytes = Vec::new();
        let mut bounded = (&mut self.reader).take(LONGEST_LINE);
        bounded.read_until(b'\n', &mut bytes).map_err(|error| wrong(&error))?;
        if bytes.last() != Some(&b'\n') {
            return Err(wrong(&"it ends too early"));
        }
        let line = serde_json::from_slice(&bytes).map_err(|error| wrong(&error))?;
        if let Line::End { hash } = &line {
            self.ended = true;
            let is_whole = *hash == self.hash.finalize().to_hex().to_string();
            let mut more = [0];
            let is_last = self.reader.read(&mut more).map_err(|error| wrong(&error))? == 0;
            if !(is_whole && is_last) {
                return Err(wrong(&"its hash does not fit"));
            }
            return Ok(None);
        }
        self.hash.update(&bytes);
        Ok(Some(line))
    }
}

/// What follows the header.
struct Parts(Lines);

impl Iterator for Parts {
    type Item = Result<Part>;

    fn next(&mut self) -> Option<Result<Part>> {
        match self.0.next_line() {
            Ok(Some(Line::Part(part))) => Some(Ok(part)),
            Ok(Some(_)) => Some(Err(unusable(&self.0.file, "it has a second beginning"))),
            Ok(None) => None,
            Err(error) => {
                // Nothing that follows counts.
                self.0.ended = true;
                Some(Err(error))
            }
        }
    }
}
