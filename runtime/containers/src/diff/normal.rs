//! Owns the normal forms in which the two sides of a comparison meet.

use std::collections::BTreeSet;

use effect::units::{Size, Span};

use crate::spec::{signal_name, signal_number};

pub(super) fn bare_id(id: &str) -> &str {
    id.strip_prefix("sha256:").unwrap_or(id)
}

pub(super) fn short_id(bare: &str) -> &str {
    bare.get(..12).unwrap_or(bare)
}

/// `busybox`, `docker.io/library/busybox` and `busybox:latest` are one reference.
pub(super) fn same_reference(one: &str, other: &str) -> bool {
    full_reference(one) == full_reference(other)
}

fn full_reference(reference: &str) -> String {
    let bare = ["docker.io/library/", "docker.io/", "localhost/"]
        .iter()
        .find_map(|prefix| reference.strip_prefix(prefix))
        .unwrap_or(reference);
    let last = bare.rsplit('/').next().unwrap_or(bare);
    if last.contains([':', '@']) { bare.to_owned() } else { format!("{bare}:latest") }
}

pub(super) fn user(user: &str) -> &str {
    match user {
        "" | "0" | "root" | "0:0" | "root:root" => "0",
        other => other,
    }
}

pub(super) fn path(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() { "/" } else { trimmed }
}

pub(crate) fn signal(signal: &str) -> String {
    signal_number(signal).map_or_else(|| signal.to_owned(), signal_name)
}

/// The kernel keeps memory limits in whole pages.
pub(super) fn pages(size: Size) -> Size {
    Size(size.0 & !4095)
}

/// Engines keep processor limits as a quota of a period, in steps finer than this.
pub(super) fn cpus(cpus: f64) -> f64 {
    (cpus * 1000.0).round() / 1000.0
}

/// Engines count stop time-outs in whole seconds.
pub(crate) fn seconds(span: Span) -> Span {
    Span::seconds(span.0.as_secs() + u64::from(span.0.subsec_nanos() > 0))
}

/// podman's default network has a name of its own.
pub(crate) fn network(network: &str) -> &str {
    if network == "podman" { "bridge" } else { network }
}

pub(crate) fn device(device: &str) -> String {
    match device.split_once(':') {
        Some((host, inside)) if host == inside => host.to_owned(),
        _ => device.to_owned(),
    }
}

pub(crate) fn capability(capability: &str) -> String {
    let upper = capability.to_ascii_uppercase();
    upper.strip_prefix("CAP_").unwrap_or(&upper).to_owned()
}

/// Sorted, each once, each in its normal form.
pub(crate) fn set(items: &[String], normal: fn(&str) -> String) -> Vec<String> {
    items.iter().map(|item| normal(item)).collect::<BTreeSet<_>>().into_iter().collect()
}
