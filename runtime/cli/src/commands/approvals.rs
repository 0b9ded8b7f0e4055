//! Owns `approvals`: what runs ask people for, shown and decided. Where a daemon has the state directory, it decides; what is
//! shown comes from the records either way.

use std::io::{BufRead as _, IsTerminal as _};

use api::v1;
use daemon::api::client::request;
use effect::{Code, Error, Result};
use journal::Timestamp;
use journal::audit::{Kind, New};
use serde_json::{Value, json};
use system::approvals::{self, Book, LONGEST_COMMENT, Shown, Verdict};
use system::markdown;

use crate::app::App;
use crate::arguments::approvals::{Approvals, Ballot};
use crate::exit::Exit;
use crate::handover;
use crate::render::{self, Table};

pub(super) async fn approvals(app: &App, command: Approvals) -> Result<Exit> {
    match command {
        Approvals::List { all, json } => list(app, all, json).await,
        Approvals::Show { id, json } => show(app, &id, json).await,
        Approvals::Approve(ballot) => decide(app, &ballot, Verdict::Approved).await,
        Approvals::Reject(ballot) => decide(app, &ballot, Verdict::Rejected).await,
    }
}

fn book(app: &App) -> Book {
    Book::new(app.journal.clone(), &app.node)
}

/// What is asked and not decided, of a run or of all.
pub(super) async fn open(app: &App, run: Option<&str>) -> Result<Vec<Shown>> {
    let now = app.clock.now();
    let mut found = book(app).all().await?;
    found.retain(|shown| {
        shown.is_open(now) && run.is_none_or(|run| approvals::run_of(&shown.approval.id) == run)
    });
    Ok(found)
}

/// In a line: what is asked, of whom, and how far it is.
pub(super) fn line(shown: &Shown) -> String {
    let asked = &shown.approval.asked;
    let count = shown.approval.count(Verdict::Approved, &shown.hash);
    format!("{} ({count}/{} of {})", markdown::line(&asked.title), asked.quorum, whom(&asked.by))
}

/// As JSON: what is asked, and of whom.
pub(super) fn short(shown: &Shown) -> Value {
    let asked = &shown.approval.asked;
    json!({
        "approval": shown.approval.id, "title": asked.title, "by": asked.by, "quorum": asked.quorum,
        "approved": shown.approval.count(Verdict::Approved, &shown.hash), "until": shown.approval.until,
    })
}

fn whom(by: &[String]) -> String {
    markdown::line(&by.join(", "))
}

async fn list(app: &App, all: bool, as_json: bool) -> Result<Exit> {
    let now = app.clock.now();
    let mut found = book(app).all().await?;
    found.retain(|shown| all || shown.is_open(now));
    if as_json {
        render::json(&found.iter().map(|shown| told(shown, now)).collect::<Vec<_>>());
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["id", "of", "what", "state", "approved", "by", "until"]);
    for shown in &found {
        let approval = &shown.approval;
        let count = approval.count(Verdict::Approved, &shown.hash);
        table.row([
            approval.id.clone(),
            markdown::line(approval.object.rsplit_once('/').map_or(&*approval.object, |(name, _)| name)),
            markdown::line(&approval.asked.title),
            shown.state(now).to_owned(),
            format!("{count}/{}", approval.asked.quorum),
            whom(&approval.asked.by),
            approval.until.map(render::rfc3339).unwrap_or_default(),
        ]);
    }
    table.print();
    Ok(Exit::Done)
}

/// An approval as JSON.
fn told(shown: &Shown, now: Timestamp) -> Value {
    let mut value = json!(shown.approval);
    value["state"] = json!(shown.state(now));
    value["hash"] = json!(shown.hash);
    value["html"] = json!(markdown::html(&shown.approval.asked.body));
    value["document_version"] = json!(shown.document.as_ref().map(|document| document.version));
    value
}

async fn show(app: &App, id: &str, as_json: bool) -> Result<Exit> {
    let shown = book(app).get(id).await?;
    if as_json {
        render::json(&told(&shown, app.clock.now()));
    } else {
        print(&shown, app.clock.now());
    }
    Ok(Exit::Done)
}

fn print(shown: &Shown, now: Timestamp) {
    let approval = &shown.approval;
    let asked = &approval.asked;
    let told = |name: &str, text: &str| render::out(format_args!("{name:<9} {}", markdown::line(text)));
    render::out(format_args!("{} {}", render::styled(render::BOLD, &approval.id), shown.state(now)));
    told("what", &asked.title);
    told("run", &approval.object);
    told("starter", approval.starter.as_deref().unwrap_or("not known"));
    let counts = (approval.count(Verdict::Approved, &shown.hash), asked.quorum);
    told("by", &format!("{}: {} of {} have approved", asked.by.join(", "), counts.0, counts.1));
    if let Some(until) = approval.until {
        let then = json!(asked.on_timeout);
        told("until", &format!("{}, then: {}", render::rfc3339(until), then.as_str().unwrap_or_default()));
    }
    if let Some(slug) = &asked.document {
        let version = shown.document.as_ref().map(|document| format!("version {}", document.version));
        told("document", &format!("{slug}, {}", version.as_deref().unwrap_or("which is not there")));
    }
    told("script", &asked.script);
    if let Some(plan) = &asked.saved_plan {
        told("plan of", plan);
    }
    told("hash", &shown.hash);
    for decision in &approval.decisions {
        let void =
            if decision.hash == shown.hash { "" } else { " (of something else than is asked now: void)" };
        let comment = decision.comment.as_deref().map(|comment| format!(": {comment}")).unwrap_or_default();
        let at = render::rfc3339(decision.at);
        told(decision.verdict.as_str(), &format!("{at} {}{comment}{void}", decision.principal));
    }
    if !asked.body.is_empty() {
        render::out(format_args!("\n{}", markdown::terminal(&asked.body).trim_end()));
    }
    if let Some(plan) = &asked.plan {
        render::out(format_args!("\n{}", render::styled(render::BOLD, "what exactly will be done")));
        markdown::plain(plan).lines().for_each(|line| render::out(format_args!("    {line}")));
    }
}

async fn decide(app: &App, wish: &Ballot, verdict: Verdict) -> Result<Exit> {
    if wish.comment.as_ref().is_some_and(|comment| comment.len() > LONGEST_COMMENT) {
        return Err(Error::new(Code::Usage, format!("`--comment` has more than {LONGEST_COMMENT} bytes")));
    }
    let shown = book(app).get(&wish.id).await?;
    let hash = match &wish.hash {
        Some(hash) => hash.clone(),
        None => asked(app, &shown, verdict)?,
    };
    let id = shown.approval.id.clone();
    let decided = match handover::daemon(app).await? {
        Some(client) => {
            let message = v1::DecideApprovalRequest {
                approval: id.clone(),
                verdict: verdict.as_str().into(),
                hash,
                comment: wish.comment.clone().unwrap_or_default(),
            };
            let mut calls = client.approvals();
            client.call(calls.decide_approval(request(message))).await?;
            book(app).get(&id).await?
        }
        None => here(app, wish, &id, verdict, hash).await?,
    };
    if wish.json {
        render::json(&told(&decided, app.clock.now()));
        return Ok(Exit::Done);
    }
    let count = decided.approval.count(verdict, &decided.hash);
    let wanted = match verdict {
        Verdict::Approved => decided.approval.asked.quorum,
        Verdict::Rejected => decided.approval.asked.rejections,
    };
    let state = decided.state(app.clock.now());
    render::note(format_args!("{} `{id}`: {count} of {wanted}, it is {state}", verdict.as_str()));
    Ok(Exit::Done)
}

/// Decides without a daemon, in the name of whoever runs this.
async fn here(app: &App, wish: &Ballot, id: &str, verdict: Verdict, hash: String) -> Result<Shown> {
    let principal = crate::audit::user();
    let comment = wish.comment.clone();
    let ballot = approvals::Ballot { principal: principal.clone(), address: None, verdict, comment, hash };
    let decided = book(app).decide(id, &ballot, &app.config.access()).await;
    if let Err(error) = &decided
        && error.code == Code::ApprovalDenied
    {
        let told = New::of(Kind::Denial, &principal.to_string(), "approvals.decide", id, "denied")
            .with(json!({ "rule": error.message }));
        app.journal.audit(told).durable().await?;
    }
    decided
}

/// Shows what is to be decided and asks; the hash of what was shown.
fn asked(app: &App, shown: &Shown, verdict: Verdict) -> Result<String> {
    let hint = format!("`mcrun approvals show {}` prints it: `--hash HASH`", shown.approval.id);
    if app.global.no_input || !std::io::stdin().is_terminal() {
        return Err(Error::new(Code::Usage, "a decision names the hash of what was shown").hint(hint));
    }
    print(shown, app.clock.now());
    let word = if verdict == Verdict::Approved { "Approve" } else { "Reject" };
    render::note(format_args!("\n{word} this? [y/N]"));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Error::new(Code::Usage, "the answer cannot be read").because(error))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(shown.hash.clone()),
        _ => Err(Error::new(Code::Usage, "not confirmed, nothing was decided")),
    }
}
