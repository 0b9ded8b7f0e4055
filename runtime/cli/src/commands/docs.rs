//! Owns `docs`: documents that runs have pushed, shown, marked and deleted.

use std::io::Write as _;

use api::v1;
use daemon::api::client::request;
use effect::Result;
use serde_json::json;
use system::documents::{Document, Shelf};
use system::markdown;

use crate::app::App;
use crate::arguments::approvals::Docs;
use crate::exit::Exit;
use crate::handover;
use crate::render::{self, Table};

pub(super) async fn docs(app: &App, command: Docs) -> Result<Exit> {
    match command {
        Docs::List { json } => list(app, json).await?,
        Docs::Show { slug, html, json } => show(app, &slug, html, json).await?,
        Docs::Read { slug, version } => mark(app, &slug, version, true).await?,
        Docs::Unread { slug } => mark(app, &slug, None, false).await?,
        Docs::Delete { slug } => delete(app, &slug).await?,
    }
    Ok(Exit::Done)
}

fn shelf(app: &App) -> Shelf {
    Shelf::new(app.journal.clone(), &app.node)
}

fn at(document: &Document) -> String {
    render::rfc3339(journal::Timestamp((document.at * 1000.0) as i64))
}

async fn list(app: &App, as_json: bool) -> Result<()> {
    let (shelf, user) = (shelf(app), crate::audit::user());
    let mut found = Vec::new();
    for document in shelf.all().await? {
        let is_read = shelf.has_read(&document, &user).await?;
        found.push((document, is_read));
    }
    if as_json {
        let told = |(document, is_read): &(Document, bool)| {
            let mut value = json!(document);
            value["read"] = json!(is_read);
            // In a list nobody looks for the texts.
            value.as_object_mut().map(|fields| fields.remove("body"));
            value
        };
        render::json(&found.iter().map(told).collect::<Vec<_>>());
        return Ok(());
    }
    let mut table = Table::new(&["document", "title", "version", "pushed", "by", "read"]);
    for (document, is_read) in &found {
        table.row([
            document.slug.clone(),
            markdown::line(&document.title),
            document.version.to_string(),
            at(document),
            document.pushed_by.clone().unwrap_or_default(),
            if *is_read { "yes" } else { "no" }.to_owned(),
        ]);
    }
    table.print();
    Ok(())
}

async fn show(app: &App, slug: &str, as_html: bool, as_json: bool) -> Result<()> {
    let shelf = shelf(app);
    let document = shelf.get(slug).await?;
    if as_json {
        let mut value = json!(document);
        value["html"] = json!(markdown::html(&document.body));
        value["readers"] = json!(shelf.readers(&document).await?);
        render::json(&value);
        return Ok(());
    }
    if as_html {
        // Nobody may read it to its end.
        let _ = std::io::stdout().write_all(markdown::html(&document.body).as_bytes());
        return Ok(());
    }
    let by = document.pushed_by.as_deref().unwrap_or("nobody that is known");
    render::out(format_args!(
        "{} ({slug}, version {}, pushed {} by {})",
        render::styled(render::BOLD, markdown::line(&document.title)),
        document.version,
        at(&document),
        markdown::line(by)
    ));
    let readers = shelf.readers(&document).await?;
    if !readers.is_empty() {
        let names: Vec<_> = readers.iter().map(|reader| markdown::line(&reader.principal)).collect();
        render::out(format_args!("read by {}", names.join(", ")));
    }
    render::out(format_args!("\n{}", markdown::terminal(&document.body).trim_end()));
    Ok(())
}

async fn mark(app: &App, slug: &str, version: Option<u64>, is_read: bool) -> Result<()> {
    match handover::daemon(app).await? {
        Some(client) => {
            let message = v1::MarkDocumentRequest { slug: slug.into(), is_read, version };
            let mut calls = client.documents();
            client.call(calls.mark_document(request(message))).await?;
        }
        None => drop(shelf(app).mark(slug, version, &crate::audit::user(), is_read).await?),
    }
    let word = if is_read { "read" } else { "not read" };
    render::note(format_args!("`{}` is marked as {word}", markdown::line(slug)));
    Ok(())
}

async fn delete(app: &App, slug: &str) -> Result<()> {
    shelf(app).get(slug).await?;
    super::services::confirm(app, &format!("Delete the document `{slug}`?"))?;
    match handover::daemon(app).await? {
        Some(client) => {
            let mut calls = client.documents();
            client
                .call(calls.delete_document(request(v1::DeleteDocumentRequest { slug: slug.into() })))
                .await?;
        }
        None => shelf(app).delete(slug, &crate::audit::user()).await?,
    }
    render::note(format_args!("`{}` is deleted", markdown::line(slug)));
    Ok(())
}
