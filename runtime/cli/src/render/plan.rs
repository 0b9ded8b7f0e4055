//! Owns the form of a plan: `+` create, `~` update, `-/+` replace, `-` remove, `!` act, `?` wait; unchanged objects are
//! counted, and the list of what changes comes last, where the eye ends up.

use effect::plan::{Plan, Step};
use effect::{Action, FieldChange};
use serde::Serialize;
use serde_json::{Value, json};

use super::{BOLD, CYAN, DIM, GREEN, RED, YELLOW, out, printable, styled};

/// Prints a plan.
pub(crate) fn plan(plan: &Plan, name: &str) {
    for step in &plan.steps {
        print_step(step);
    }
    for end in &plan.ends {
        let place =
            end.place.as_ref().map(|place| format!(" at {}:{}", place.file, place.line)).unwrap_or_default();
        let branch =
            if end.scope.is_empty() { "the plan".to_owned() } else { format!("the plan of `{}`", end.scope) };
        out(format_args!(
            "{} {branch} ends{place}: what comes next depends on {}",
            styled(CYAN, "…"),
            printable(&end.note)
        ));
    }
    out(summary(plan, name));
    print_changed(plan);
    print_cannot_undo(plan);
}

fn print_step(step: &Step) {
    let (symbol, style) = symbol(step.action);
    if let Some(error) = &step.error {
        out(format_args!(
            "{} {}  {}",
            styled(RED, "✗"),
            headline(step),
            styled(RED, format_args!("[{}] {}", error.code, printable(&error.message)))
        ));
        return;
    }
    if matches!(step.action, Action::None | Action::Read) {
        return;
    }
    out(format_args!("{} {}", styled(style, symbol), headline(step)));
    // The registry repeats what the containers above already say.
    let repeats = step.identity.name.starts_with("registry.");
    for field in step.fields.iter().filter(|field| !(repeats && field.path.starts_with("spec"))) {
        out(format_args!("      {}", field_line(field)));
    }
    for line in step.diff.iter().flat_map(|diff| diff.lines()) {
        let style = match line.chars().next() {
            Some('+') => GREEN,
            Some('-') => RED,
            Some('@') => CYAN,
            _ => DIM,
        };
        out(format_args!("      {}", styled(style, printable(line))));
    }
    for note in &step.notes {
        out(format_args!("      {}", styled(DIM, printable(note))));
    }
    for reason in &step.cannot_undo {
        out(format_args!("      {} {}", styled(RED, "cannot be undone:"), printable(reason)));
    }
}

fn headline(step: &Step) -> String {
    let place = step.place.as_ref().map(|place| format!("{}:{}", place.file, place.line)).unwrap_or_default();
    let scope =
        if step.identity.scope.is_empty() { String::new() } else { format!("{} ", step.identity.scope) };
    format!(
        "{} {}  {}",
        styled(BOLD, &step.identity.name),
        printable(&step.subject),
        styled(DIM, format_args!("{scope}{place}"))
    )
}

fn symbol(action: Action) -> (&'static str, anstyle::Style) {
    match action {
        Action::Create => ("+", GREEN),
        Action::Update => ("~", YELLOW),
        Action::Replace => ("-/+", RED),
        Action::Remove => ("-", RED),
        Action::Act => ("!", YELLOW),
        Action::Wait => ("?", CYAN),
        Action::None | Action::Read => (" ", DIM),
    }
}

fn field_line(field: &FieldChange) -> String {
    let forces = if field.replaces { styled(RED, "  (replaces)") } else { String::new() };
    let change = match (&field.before, &field.after) {
        (None, Some(after)) => value(after),
        (Some(before), None) => format!("{} → {}", value(before), styled(DIM, "absent")),
        (Some(before), Some(after)) => format!("{} → {}", value(before), value(after)),
        (None, None) => String::new(),
    };
    format!("{} {change}{forces}", styled(DIM, format_args!("{}:", field.path)))
}

fn value(value: &Value) -> String {
    const LONGEST: usize = 120;
    if value.get("$hidden").is_some() {
        return styled(DIM, "(hidden)");
    }
    let text = printable(&value.to_string());
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn counts(plan: &Plan) -> Vec<(usize, &'static str)> {
    let of = |action| plan.count(action);
    vec![
        (of(Action::Create), "to create"),
        (of(Action::Update), "to update"),
        (of(Action::Replace), "to replace"),
        (of(Action::Remove), "to remove"),
        (of(Action::Act), "to do"),
        (of(Action::Wait), "to wait for"),
        (of(Action::None), "unchanged"),
    ]
}

fn summary(plan: &Plan, name: &str) -> String {
    let shown: Vec<String> = counts(plan)
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let is_whole = plan.ends.is_empty() && plan.steps.iter().all(|step| step.error.is_none());
    let counted = match (shown.is_empty(), is_whole) {
        (false, _) => shown.join(", "),
        (true, true) => "nothing to do".to_owned(),
        (true, false) => "not known".to_owned(),
    };
    format!("{} {name}: {counted}", styled(BOLD, "plan"))
}

fn print_changed(plan: &Plan) {
    let changed: Vec<String> = plan
        .steps
        .iter()
        .filter(|step| step.error.is_none())
        .filter(|step| !matches!(step.action, Action::None | Action::Read | Action::Wait))
        .map(|step| {
            let family = step.identity.name.split('.').next().unwrap_or_default();
            format!("{} {family} {}", symbol(step.action).0, printable(&step.subject))
        })
        .collect();
    if !changed.is_empty() {
        out(format_args!("{} {}", styled(BOLD, "changes:"), changed.join(", ")));
    }
}

/// How many, and where: the last look before somebody says yes.
fn print_cannot_undo(plan: &Plan) {
    const NAMED: usize = 8;
    let count = plan.cannot_undo().count();
    if count == 0 {
        return;
    }
    let named = plan.cannot_undo().take(NAMED).map(|step| {
        let place = step.place.as_ref().map(|place| format!(" {}:{}", place.file, place.line));
        format!("{}{}", step.identity.name, place.unwrap_or_default())
    });
    let mut named: Vec<String> = named.collect();
    if count > NAMED {
        named.push(format!("{} more", count - NAMED));
    }
    let places = printable(&named.join(", "));
    out(format_args!("{} {count} ({places})", styled(BOLD, "cannot be undone:")));
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    counts: Value,
    has_changes: bool,
    needs: Vec<String>,
    missing: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a effect::Error>,
}

/// The plan as data.
pub(crate) fn plan_json(plan: &Plan, error: Option<&effect::Error>) -> Value {
    let counts = json!({
        "create": plan.count(Action::Create),
        "update": plan.count(Action::Update),
        "replace": plan.count(Action::Replace),
        "remove": plan.count(Action::Remove),
        "act": plan.count(Action::Act),
        "wait": plan.count(Action::Wait),
        "unchanged": plan.count(Action::None),
        "cannot_undo": plan.cannot_undo().count(),
    });
    let shown = Shown {
        plan,
        counts,
        has_changes: plan.has_changes(),
        needs: plan.needs(),
        missing: plan.missing(),
        error,
    };
    serde_json::to_value(shown).unwrap_or(Value::Null)
}
