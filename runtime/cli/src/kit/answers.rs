//! Owns what stands for programs, web addresses and probes: the answers that a test has given, and what is said where it
//! has given none.

use std::collections::VecDeque;

use effect::{Asked, Code, Error, Result};
use serde_json::{Map, Value, json};

/// Answers of a test, the last one given first.
#[derive(Debug, Default)]
pub(super) struct Answers(VecDeque<Answer>);

#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) effect: String,
    /// The object; it may end with `*`. Any unless given.
    pub(super) subject: Option<String>,
    pub(super) result: Map<String, Value>,
    /// How many calls it answers; all unless given.
    pub(super) times: Option<u32>,
}

/// What an answer looks like where the test says nothing else; nothing for effects that need no answer.
fn plain(effect: &str, subject: &str) -> Option<Value> {
    match effect {
        "dns.resolve" => {
            let (name, rtype) = subject.rsplit_once(' ').unwrap_or((subject, "A"));
            Some(
                json!({ "name": name, "type": rtype, "values": [], "ttl": 300, "server": "as the test says" }),
            )
        }
        "http.get" | "http.request" => {
            Some(json!({ "status": 200, "headers": {}, "body": "", "url": subject }))
        }
        "exec.run" | "exec.query" => {
            Some(json!({ "code": 0, "stdout": "", "stderr": "", "truncated": false }))
        }
        "containers.exec" => Some(json!({ "code": 0, "stdout": "", "stderr": "", "truncated": false })),
        // Whoever is asked in a test says yes, unless a fault says otherwise.
        "approve" => Some(json!({ "id": "0000000000000-1", "by": ["account:tester"], "timed_out": false })),
        "files.space" => {
            Some(json!({ "size": 1_u64 << 40, "free": 1_u64 << 39, "used": 0.5, "inodes_used": 0.1 }))
        }
        _ => None,
    }
}

impl Answer {
    /// Refuses an answer that no call could give.
    pub(super) fn check(&self) -> Result<()> {
        let Some(Value::Object(known)) = plain(&self.effect, "") else {
            return Err(Error::new(Code::Argument, format!("`{}` is not answered by a test", self.effect))
                .hint("approve, http.get, http.request, dns.resolve, exec.run, exec.query, containers.exec and files.space are; others act on the machine in memory"));
        };
        match self.result.keys().find(|name| !known.contains_key(*name)) {
            Some(unknown) => {
                let error = Error::new(Code::UnknownField, format!("field `result.{unknown}` is unknown"));
                Err(match effect::policy::nearest(unknown, known.keys().map(String::as_str)) {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error,
                })
            }
            None => Ok(()),
        }
    }

    fn fits(&self, asked: Asked<'_>) -> bool {
        let subject_fits = match self.subject.as_deref() {
            None => true,
            Some(pattern) => match pattern.strip_suffix('*') {
                Some(beginning) => asked.subject.starts_with(beginning),
                None => pattern == asked.subject,
            },
        };
        self.effect == asked.name && self.times != Some(0) && subject_fits
    }
}

impl Answers {
    pub(super) fn add(&mut self, answer: Answer) {
        self.0.push_front(answer);
    }

    /// What a call is answered; nothing when the machine in memory does it.
    pub(super) fn find(&mut self, asked: Asked<'_>) -> Option<Result<Value>> {
        // Probes pass unless a fault says otherwise.
        if asked.name.starts_with("health.") {
            return Some(Ok(json!({ "answer": "as the test says", "attempts": 1 })));
        }
        if asked.name == "dns.wait_for" {
            return Some(Ok(json!({ "servers": 1, "rounds": 1 })));
        }
        let mut result = plain(asked.name, asked.subject)?;
        match self.0.iter_mut().find(|answer| answer.fits(asked)) {
            Some(answer) => {
                if let Some(times) = &mut answer.times {
                    *times -= 1;
                }
                let fields = result.as_object_mut().expect("plain answers are tables");
                fields.extend(answer.result.clone());
            }
            // A program in a container is part of the machine in memory, which has none that could fail, and room enough; and whoever is
            // asked agrees.
            None if matches!(asked.name, "approve" | "containers.exec" | "files.space") => {}
            None => {
                let message = format!("nothing in this test answers `{}` {}", asked.name, asked.subject);
                return Some(Err(Error::new(Code::Unanswered, message).hint(format!(
                    "test.answer {{ effect = \"{}\", subject = \"{}\", result = {{ … }} }}",
                    asked.name, asked.subject
                ))));
            }
        }
        Some(judged(asked, result))
    }
}

/// The answer as the effect would judge it: a failure is an error where the script wants it so.
fn judged(asked: Asked<'_>, result: Value) -> Result<Value> {
    let wants =
        |by_default: bool| asked.arguments.get("check").and_then(Value::as_bool).unwrap_or(by_default);
    let code = result.get("code").and_then(Value::as_i64).unwrap_or(0);
    let status = result.get("status").and_then(Value::as_i64).unwrap_or(0);
    if code != 0 && wants(true) {
        return Err(Error::new(Code::ExitStatus, format!("`{}` ended with exit code {code}", asked.subject)));
    }
    if status >= 400 && wants(false) {
        let error = Error::new(Code::HttpFailed, format!("`{}` answered {status}", asked.subject));
        return Err(if status >= 500 || status == 429 { error.retryable() } else { error });
    }
    Ok(result)
}
