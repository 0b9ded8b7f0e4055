//! Owns the route that somebody types: its options as the fields of `routes.ensure`.

use std::path::Path;

use effect::{Code, Error, Result};
use serde_json::{Map, Value, json};

use crate::arguments::routes::{Mode, RouteWanted};

/// No file of certificates is larger, in bytes.
const LARGEST: u64 = 256 << 10;

pub(super) fn params(wanted: &RouteWanted) -> Result<Value> {
    let ca = wanted.backend_ca.as_deref().map(read).transpose()?;
    let mode = wanted.mode.map(|mode| match mode {
        Mode::L4 => "l4",
        Mode::L7 => "l7",
    });
    let mut params = super::params(&wanted.key);
    let more = json!({
        "mode": mode,
        "backends": wanted.backends,
        "cert": wanted.cert,
        "service": wanted.service,
        "redirect": wanted.redirect.as_ref().map(|to| json!({ "to": to })),
        "maintenance": wanted.maintenance.as_ref().map(|text| json!({ "text": format!("{text}\n") })),
        "backend_tls": ca.map(|ca| json!({ "ca": ca })),
        "health": wanted.health.as_ref().map(|path| json!({ "http": path })),
        "public": wanted.public,
        "drain": wanted.drain.map(|span| span.to_string()),
        "probe": !wanted.no_probe,
    });
    if let (Some(params), Value::Object(more)) = (params.as_object_mut(), more) {
        params.extend(more);
        wanted.with.iter().try_for_each(|setting| set(params, setting))?;
    }
    Ok(params)
}

/// Enters `limits.rate=50`.
fn set(params: &mut Map<String, Value>, setting: &str) -> Result<()> {
    let wrong = |why: &str| {
        Error::new(Code::Usage, format!("`--with {setting}` {why}"))
            .hint("write `--with limits.rate=50`; docs/reference has the fields of `routes.ensure`")
    };
    let (path, value) = setting
        .split_once('=')
        .filter(|(path, _)| path.split('.').all(|name| !name.is_empty()))
        .ok_or_else(|| wrong("is not FIELD=VALUE"))?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    // Names of headers may have dots, and are the last part.
    let mut names = match path.strip_prefix("headers.set.") {
        Some(header) => vec!["headers", "set", header],
        None => path.split('.').collect(),
    };
    let Some(last) = names.pop() else { return Err(wrong("is not FIELD=VALUE")) };
    let mut table = params;
    for name in names {
        let inner = table.entry(name).or_insert(Value::Null);
        if inner.is_null() {
            *inner = Value::Object(Map::new());
        }
        table = inner.as_object_mut().ok_or_else(|| wrong("lies in a field that is no table"))?;
    }
    table.insert(last.to_owned(), value);
    Ok(())
}

fn read(file: &Path) -> Result<String> {
    let failed = |why: &dyn std::fmt::Display| {
        Error::new(Code::Usage, format!("`{}` cannot be read", file.display())).because(why)
    };
    let found = file.metadata().map_err(|error| failed(&error))?;
    if !found.is_file() {
        return Err(failed(&"it is no file"));
    }
    if found.len() > LARGEST {
        return Err(failed(&"it is larger than 256 KiB"));
    }
    std::fs::read_to_string(file).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(settings: &[&str]) -> Result<Value> {
        let mut params =
            Map::from_iter([("retries".to_owned(), json!(1)), ("health".to_owned(), Value::Null)]);
        settings.iter().try_for_each(|setting| set(&mut params, setting))?;
        Ok(Value::Object(params))
    }

    #[test]
    fn fields_are_set_wherever_they_lie() {
        let params = entered(&[
            "limits.rate=50",
            "limits.head=8KiB",
            "access.deny=[\"10.0.0.0/8\"]",
            "headers.set.x-a.b=c=d",
            "health.every=1s",
        ]);
        let expected = json!({
            "retries": 1,
            "limits": { "rate": 50, "head": "8KiB" },
            "access": { "deny": ["10.0.0.0/8"] },
            "headers": { "set": { "x-a.b": "c=d" } },
            "health": { "every": "1s" },
        });
        assert_eq!(params.unwrap(), expected);
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        for wrong in ["limits.rate", "=1", "limits.=1", "retries.x=1"] {
            assert_eq!(entered(&[wrong]).unwrap_err().code, Code::Usage, "{wrong}");
        }
    }
}
