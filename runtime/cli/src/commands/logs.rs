//! Owns `logs`: of a run from the journal, of a service from its containers.

use std::time::Duration;

use containers::{LogLine, LogQuery, Observed};
use effect::{Code, Error, Result};
use journal::{Level, Run};

use crate::app::App;
use crate::exit::Exit;
use crate::render;
use crate::wiring;

/// How often a run's log is looked at while it is followed.
const EVERY: Duration = Duration::from_millis(200);

pub(super) async fn logs(app: &App, subject: &str, follow: bool, tail: usize, as_json: bool) -> Result<Exit> {
    let containers = containers_of(app, subject).await?;
    if !containers.is_empty() {
        return of_containers(app, containers, follow, tail, as_json).await;
    }
    match app.journal.run(subject).await {
        Ok(run) => of_run(app, &run, follow, tail, as_json).await,
        Err(journal::Error::UnknownRun { .. }) => Err(Error::new(
            Code::RunUnknown,
            format!("`{subject}` is neither a run nor a service nor a container"),
        )
        .hint("`mcrun runs` lists runs, `mcrun ps` containers")),
        Err(error) => Err(error.into()),
    }
}

async fn containers_of(app: &App, subject: &str) -> Result<Vec<Observed>> {
    let mut found = wiring::containers(app).list().await?;
    found.retain(|container| {
        container.name == subject || (container.managed && container.service.as_deref() == Some(subject))
    });
    Ok(found)
}

async fn of_containers(
    app: &App,
    containers: Vec<Observed>,
    follow: bool,
    tail: usize,
    as_json: bool,
) -> Result<Exit> {
    let world = wiring::containers(app);
    let several = containers.len() > 1;
    let query = LogQuery::tail(tail);
    let (sender, mut lines) = tokio::sync::mpsc::channel::<(String, LogLine)>(64);
    let mut followers = tokio::task::JoinSet::new();
    for container in containers {
        let Some((driver, _)) = world.find(&container.name).await? else { continue };
        if !follow {
            for line in driver.logs(&container.name, &query).await? {
                print(&container.name, &line, several, as_json);
            }
            continue;
        }
        let mut followed = driver.follow(&container.name, &query).await?;
        let sender = sender.clone();
        followers.spawn(async move {
            while let Some(line) = followed.recv().await {
                if sender.send((container.name.clone(), line)).await.is_err() {
                    break;
                }
            }
        });
    }
    drop(sender);
    while let Some((name, line)) = lines.recv().await {
        print(&name, &line, several, as_json);
    }
    Ok(Exit::Done)
}

fn print(name: &str, line: &LogLine, several: bool, as_json: bool) {
    if as_json {
        let mut shown = serde_json::to_value(line).unwrap_or_default();
        shown["container"] = name.into();
        render::out(shown);
    } else if several {
        render::out(format_args!("{} {}", render::styled(render::DIM, name), render::printable(&line.line)));
    } else {
        render::out(render::printable(&line.line));
    }
}

async fn of_run(app: &App, run: &Run, follow: bool, tail: usize, as_json: bool) -> Result<Exit> {
    const PAGE: usize = 1000;
    let mut after = 0;
    let mut newest = std::collections::VecDeque::new();
    loop {
        let page = app.journal.logs(&run.id, after, PAGE).await?;
        let is_last = page.len() < PAGE;
        for entry in page {
            after = entry.order;
            newest.push_back(entry);
            if newest.len() > tail {
                newest.pop_front();
            }
        }
        if is_last {
            break;
        }
    }
    newest.iter().for_each(|entry| print_entry(entry, as_json));
    while follow && app.journal.holder_of_run(&run.id).is_some() {
        tokio::time::sleep(EVERY).await;
        for entry in app.journal.logs(&run.id, after, PAGE).await? {
            after = entry.order;
            print_entry(&entry, as_json);
        }
    }
    Ok(Exit::Done)
}

fn print_entry(entry: &journal::Log, as_json: bool) {
    if as_json {
        render::out(serde_json::to_string(entry).unwrap_or_default());
        return;
    }
    let level = match entry.line.level {
        Level::Debug => script::Level::Debug,
        Level::Info => script::Level::Info,
        Level::Warn => script::Level::Warn,
        Level::Error => script::Level::Error,
    };
    let line = render::log_line(level, &entry.line.scope, &entry.line.message, entry.line.fields.as_deref());
    render::out(format_args!("{} {line}", render::styled(render::DIM, render::rfc3339(entry.line.at))));
}
