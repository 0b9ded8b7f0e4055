//! Owns scripts of one line: what a command changes takes the same way through the corridor as any script.

use std::path::Path;

use effect::policy::Grants;
use effect::{Mode, Result};
use serde_json::{Map, Value};

use super::evaluate::{self, Job};
use crate::app::App;
use crate::arguments::How;
use crate::exit::Exit;

/// A script of one line.
pub(super) struct Line<'a> {
    /// What the run is called.
    pub(super) name: &'a str,
    /// The effect that `params` are for.
    pub(super) effect: &'a str,
    /// What it is given; fields without a value are left out.
    pub(super) params: Value,
    /// What it may do.
    pub(super) allow: Vec<String>,
}

/// Plans or runs it.
pub(super) async fn carry_out(app: &App, line: Line<'_>, how: &How) -> Result<Exit> {
    let body = format!("{}(params)\n", line.effect);
    run(app, line.name, &body, without_nulls(line.params), line.allow, how).await
}

/// Plans or runs `body`, which finds what it needs in `params`.
pub(super) async fn run(
    app: &App,
    name: &str,
    body: &str,
    params: Value,
    allow: Vec<String>,
    how: &How,
) -> Result<Exit> {
    let grants = Grants { allow, ..Grants::default() };
    let job = Job { params, ..evaluate::shipped_job(app, name, body, Vec::new(), grants)? };
    if how.plan {
        return evaluate::show_plan(app, Job { mode: Mode::Plan, ..job }, how.json, false).await;
    }
    evaluate::start(app, job, Path::new(name), how.json).await
}

pub(super) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, field)| !field.is_null());
            Value::Object(kept.map(|(name, field)| (name, without_nulls(field))).collect::<Map<_, _>>())
        }
        other => other,
    }
}
