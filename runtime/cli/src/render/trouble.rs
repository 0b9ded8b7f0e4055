//! Owns the form of an error: what, where, why, what next.

use effect::Error;
use journal::Place;
use script::StackFrame;

use super::{BOLD, CYAN, DIM, RED, printable, styled};

/// The error as text. `source` is the script's or module's text, to show the line.
pub(crate) fn trouble(
    error: &Error,
    place: Option<&Place>,
    stack: &[StackFrame],
    source: Option<&str>,
) -> String {
    let mut lines = vec![format!(
        "{}{} {}",
        styled(RED, format_args!("error[{}]", error.code)),
        styled(BOLD, ":"),
        styled(BOLD, printable(&error.message))
    )];
    if let Some(place) = place {
        lines.extend(place_lines(error, place, source));
    }
    if let Some(cause) = &error.cause {
        lines.push(format!("{} {}", styled(DIM, "cause:"), printable(cause)));
    }
    lines.extend(error.details.iter().map(|line| format!("  {}", printable(line))));
    // Frames of the standard library say nothing about the script.
    let own: Vec<&StackFrame> = stack.iter().filter(|frame| !frame.place.file.starts_with('@')).collect();
    if own.len() > 1 {
        lines.push(styled(DIM, "stack:"));
        lines.extend(own.iter().enumerate().map(|(index, frame)| {
            let outermost = index + 1 == own.len();
            let unnamed = if outermost { "top level" } else { "a function" };
            let function = frame.function.as_deref().unwrap_or(unnamed);
            format!("  {}:{} in {}", frame.place.file, frame.place.line, printable(function))
        }));
    }
    if let Some(hint) = error.advice() {
        lines.push(format!("{} {}", styled(CYAN, "hint:"), printable(&hint)));
    }
    lines.join("\n")
}

fn place_lines(error: &Error, place: &Place, source: Option<&str>) -> Vec<String> {
    let line = source.and_then(|source| source.lines().nth(place.line.saturating_sub(1) as usize));
    let Some(line) = line else {
        return vec![format!("  {} {}:{}", styled(DIM, "-->"), place.file, place.line)];
    };
    let column = column(line, error.effect.as_deref());
    let number = place.line.to_string();
    let margin = " ".repeat(number.len());
    vec![
        format!("{margin} {} {}:{}:{column}", styled(DIM, "-->"), place.file, place.line),
        format!("{} {} {}", styled(DIM, &number), styled(DIM, "|"), printable(line.trim_end())),
    ]
}

/// Luau knows lines only; the column is where the effect's name, or else the statement, stands on the line.
fn column(line: &str, effect: Option<&str>) -> usize {
    let start =
        effect.and_then(|effect| line.find(effect)).or_else(|| line.find(|c: char| !c.is_whitespace()));
    line[..start.unwrap_or(0)].chars().count() + 1
}

#[cfg(test)]
mod tests {
    use effect::Code;

    use super::*;

    #[test]
    fn an_error_says_what_where_why_and_what_next() {
        let mut error = Error::new(Code::ImageMissing, "image `mcq:v9` is not on this node")
            .because("connection refused")
            .hint("`mcrun images mcq` lists the tags that are cached here");
        error.effect = Some("containers.ensure".into());
        let place = Place { file: "deploy.lua".into(), line: 2 };
        let source = "-- deploy\nlocal made = containers.ensure { name = \"mcq\" }\n";
        let text =
            anstream::adapter::strip_str(&trouble(&error, Some(&place), &[], Some(source))).to_string();
        assert_eq!(
            text,
            "error[MC-C003]: image `mcq:v9` is not on this node\n  --> deploy.lua:2:14\n2 | local made = containers.ensure { name = \"mcq\" }\ncause: connection refused\nhint: `mcrun images mcq` lists the tags that are cached here"
        );
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let error = Error::new(Code::Failed, "a\u{1b}[2Jb");
        assert!(!trouble(&error, None, &[], None).contains("\u{1b}[2J"));
    }
}
