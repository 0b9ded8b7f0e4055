//! Owns the lines of a definition's fields: found in the text, by its words, because a table of Lua no longer knows where
//! it was written. What is not written as a field in the table of `playbook` itself has no line of its own.

use std::collections::HashMap;

/// Where fields stand in a text.
#[derive(Debug, Default)]
pub struct Places {
    lines: HashMap<String, u32>,
    whole: Option<u32>,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Token<'a> {
    Name(&'a str),
    Text(&'a str),
    Sign(char),
}

impl Places {
    /// Looks through `source`.
    #[must_use]
    pub fn of(source: &str) -> Self {
        let tokens = tokens(source);
        let start = calls(&tokens).last();
        let mut places = Self::default();
        if let Some(open) = start {
            places.whole = Some(tokens[open - 1].1);
            places.table(&tokens, open);
        }
        places
    }

    /// The line of a field, or of the nearest one around it.
    #[must_use]
    pub fn line(&self, path: &str) -> Option<u32> {
        let mut path = path;
        while !path.is_empty() {
            if let Some(line) = self.lines.get(path) {
                return Some(*line);
            }
            path = path.rfind(['.', '[']).map_or("", |at| &path[..at]);
        }
        self.whole
    }

    /// Walks through the table that begins with the token `open`.
    fn table(&mut self, tokens: &[(Token<'_>, u32)], open: usize) {
        /// One table that is open: its path and how many items it has had.
        struct Frame {
            path: Option<String>,
            items: usize,
            depth: usize,
        }
        let mut frames: Vec<Frame> = Vec::new();
        // How deep brackets and bodies of functions are nested in an expression: what stands there is no field.
        let mut depth = 0_usize;
        let mut bodies = 0_usize;
        let mut pending: Option<String> = Some(String::new());
        let mut starts_item = false;
        let mut at = open;
        while let Some(&(token, line)) = tokens.get(at) {
            at += 1;
            match token {
                Token::Name("function") => bodies += 1,
                Token::Name("if") if bodies > 0 && is_expression(tokens[at - 2].0) => {}
                Token::Name("do" | "if" | "repeat") if bodies > 0 => bodies += 1,
                Token::Name("end" | "until") if bodies > 0 => bodies -= 1,
                _ if bodies > 0 => {}
                Token::Sign('{') => {
                    let item = starts_item && pending.is_none();
                    if item && let Some(frame) = frames.last_mut() {
                        frame.items += 1;
                        pending = frame.path.as_ref().map(|path| format!("{path}[{}]", frame.items));
                        self.note(pending.as_deref(), line);
                    }
                    frames.push(Frame { path: pending.take(), items: 0, depth });
                    depth += 1;
                    starts_item = true;
                }
                Token::Sign('}') => {
                    let Some(frame) = frames.pop() else { return };
                    depth = frame.depth;
                    starts_item = false;
                    if frames.is_empty() {
                        return;
                    }
                }
                Token::Sign('(') => depth += 1,
                Token::Sign(')') => depth = depth.saturating_sub(1),
                Token::Sign(',' | ';') if frames.last().is_some_and(|frame| frame.depth + 1 == depth) => {
                    starts_item = true;
                    pending = None;
                }
                _ if starts_item => {
                    starts_item = false;
                    let Some(frame) = frames.last_mut() else { return };
                    let key = match (token, tokens.get(at), tokens.get(at + 1), tokens.get(at + 2)) {
                        (Token::Name(name), Some((Token::Sign('='), _)), ..) => {
                            at += 1;
                            Some(name)
                        }
                        (
                            Token::Sign('['),
                            Some((Token::Text(name), _)),
                            Some((Token::Sign(']'), _)),
                            Some((Token::Sign('='), _)),
                        ) => {
                            at += 3;
                            Some(*name)
                        }
                        _ => None,
                    };
                    let path = match (&frame.path, key) {
                        (Some(path), Some(key)) => Some(super::fields::below(path, key)),
                        (Some(path), None) => {
                            frame.items += 1;
                            Some(format!("{path}[{}]", frame.items))
                        }
                        (None, _) => None,
                    };
                    self.note(path.as_deref(), line);
                    // Only a table that is the value itself has fields below this path.
                    let is_table = key.is_some() && matches!(tokens.get(at), Some((Token::Sign('{'), _)));
                    pending = path.filter(|_| is_table);
                }
                _ => {}
            }
        }
    }

    fn note(&mut self, path: Option<&str>, line: u32) {
        if let Some(path) = path {
            self.lines.entry(path.to_owned()).or_insert(line);
        }
    }
}

/// Whether an `if` behind `before` is an expression, which has no `end`.
fn is_expression(before: Token<'_>) -> bool {
    match before {
        Token::Sign(sign) => "=({[,+-*/%^<>~.:".contains(sign),
        Token::Name(name) => matches!(name, "return" | "and" | "or" | "not" | "in"),
        Token::Text(_) => false,
    }
}

/// Whether the text names `playbook` anywhere outside of texts and comments.
#[must_use]
pub fn names_playbook(source: &str) -> bool {
    // Most scripts do not have the word at all.
    source.contains("playbook") && tokens(source).iter().any(|(token, _)| *token == Token::Name("playbook"))
}

/// Whether the text calls `playbook`.
#[must_use]
pub fn calls_playbook(source: &str) -> bool {
    source.contains("playbook") && calls(&tokens(source)).next().is_some()
}

/// The positions of the `{` (or of what a call in brackets is given) behind each `playbook`.
fn calls<'a>(tokens: &'a [(Token<'_>, u32)]) -> impl Iterator<Item = usize> + 'a {
    tokens.windows(3).enumerate().filter_map(|(at, window)| {
        let [(before, _), (name, _), (after, _)] = window else { return None };
        let is_call = *name == Token::Name("playbook")
            && !matches!(before, Token::Sign('.' | ':') | Token::Name("local" | "function"))
            && matches!(after, Token::Sign('{' | '('));
        let in_brackets = matches!(after, Token::Sign('('))
            && tokens.get(at + 3).is_some_and(|(token, _)| *token == Token::Sign('{'));
        is_call.then_some(if in_brackets { at + 3 } else { at + 2 })
    })
}

/// The words of a text with their lines. The first is a mark that is no word, so that each has one before it.
fn tokens(source: &str) -> Vec<(Token<'_>, u32)> {
    let mut tokens = vec![(Token::Sign('\n'), 1)];
    let bytes = source.as_bytes();
    let (mut at, mut line) = (0, 1);
    while let Some(&byte) = bytes.get(at) {
        let start = at;
        let first_line = line;
        at = match byte {
            b'-' if source[at..].starts_with("--") => match long(&bytes[at + 2..]) {
                Some(length) => at + 2 + length,
                None => {
                    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| at + end)
                }
            },
            b'"' | b'\'' | b'`' => quoted(bytes, at),
            b'[' if long(&bytes[at..]).is_some() => at + long(&bytes[at..]).unwrap_or(1),
            b'_' | b'a'..=b'z' | b'A'..=b'Z' => {
                let of_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
                bytes[at..].iter().position(|byte| !of_name(byte)).map_or(bytes.len(), |end| at + end)
            }
            _ => at + 1,
        };
        line += u32::try_from(bytes[start..at].iter().filter(|byte| **byte == b'\n').count()).unwrap_or(0);
        match byte {
            b'-' if at > start + 1 => {}
            b'"' | b'\'' | b'`' => {
                tokens.push((Token::Text(source.get(start + 1..at - 1).unwrap_or_default()), first_line));
            }
            b'[' if at > start + 1 => tokens.push((Token::Text(""), first_line)),
            b'_' | b'a'..=b'z' | b'A'..=b'Z' => tokens.push((Token::Name(&source[start..at]), first_line)),
            byte if byte.is_ascii_whitespace() || !byte.is_ascii() => {}
            byte => tokens.push((Token::Sign(char::from(byte)), first_line)),
        }
    }
    tokens
}

/// The length of a text in long brackets at the start, `[[…]]` or `[=[…]=]`.
fn long(bytes: &[u8]) -> Option<usize> {
    let rest = bytes.strip_prefix(b"[")?;
    let level = rest.iter().position(|byte| *byte != b'=')?;
    rest[level..].strip_prefix(b"[")?;
    let end: Vec<u8> = [&b"]"[..], &rest[..level], b"]"].concat();
    let body = 2 + level;
    let close = bytes[body..].windows(end.len()).position(|window| window == end.as_slice());
    Some(close.map_or(bytes.len(), |close| body + close + end.len()))
}

/// Where the text in quotes ends that begins at `at`.
fn quoted(bytes: &[u8], at: usize) -> usize {
    let quote = bytes[at];
    let mut end = at + 1;
    while let Some(&byte) = bytes.get(end) {
        match byte {
            b'\\' => end += 2,
            byte if byte == quote => return end + 1,
            // An interpolated text goes over lines, others end with theirs.
            b'\n' if quote != b'`' => return end,
            _ => end += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::{Places, calls_playbook, names_playbook};

    const SOURCE: &str = r#"-- playbook { name = "no" }
local text = [[playbook { name = "no" }]]
local other = { on = 7 }
return playbook {
    name = "sweep", -- on = {
    on = {
        cron = {
            "17 3 * * *",
            { at = "0 4 * * *",
              zone = "Europe/Berlin" },
        },
        event = { name = "a.b", where = { ["name"] = "x",
            state = f { on = 1 } } },
    },
    run = function(event)
        if event then local on = { cron = if on then 1 else 2 } end
        for _ = 1, 2 do print(`{event}`) end
    end,
    params = {
        force = { type = "boolean" },
    },
}
"#;

    #[test]
    fn fields_have_the_lines_that_they_stand_in() {
        let places = Places::of(SOURCE);
        let expected = [
            ("name", 5),
            ("on", 6),
            ("on.cron", 7),
            ("on.cron[1]", 8),
            ("on.cron[2]", 9),
            ("on.cron[2].zone", 10),
            ("on.event.name", 12),
            ("on.event.where.name", 12),
            ("on.event.where.state", 13),
            ("run", 15),
            ("params", 19),
            ("params.force.type", 20),
            ("params.force.default", 20),
            ("overlap", 4),
            ("", 4),
        ];
        for (path, line) in expected {
            assert_eq!(places.line(path), Some(line), "{path}");
        }
    }

    #[test]
    fn words_in_texts_and_comments_are_no_calls() {
        assert!(calls_playbook(SOURCE));
        for text in
            ["-- playbook {}", "local a = 'playbook {}'", "x.playbook {}", "local playbook = 1", "", "--[["]
        {
            assert!(!calls_playbook(text), "{text}");
        }
        assert!(names_playbook("return playbook"));
        assert!(!names_playbook("print 'playbook'"));
    }

    #[test]
    fn no_text_is_too_broken() {
        for end in 0..SOURCE.len() {
            if let Some(text) = SOURCE.get(..end) {
                let _ = Places::of(text).line("on.cron");
            }
        }
        for text in
            ["playbook{\\", "playbook{'\\", "playbook {[=[", "playbook({", "`", "}{", "playbook{{{}}}}}"]
        {
            let _ = Places::of(text);
        }
    }
}
