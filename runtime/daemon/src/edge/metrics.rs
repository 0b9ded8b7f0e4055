//! Owns the text in which figures are shown to Prometheus (exposition format 0.0.4).

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use dns::RecordType;
use dns::server::Service;
use dns::server::counts::{BOUNDS, Protocol, Totals};
use dns::server::query::rcode;

/// Types with a number of their own in the figures; others are one.
fn type_name(number: u16) -> String {
    match number {
        0 => "unreadable".into(),
        255 => "ANY".into(),
        251 => "IXFR".into(),
        252 => "AXFR".into(),
        number => {
            let rtype = RecordType::of(number);
            if rtype.is_generic() { "other".into() } else { rtype.to_string() }
        }
    }
}

/// The figures of the server and of who is asked for other names.
pub(super) fn text(totals: &Totals, service: &Service) -> String {
    let mut text = String::new();
    let snapshot = service.snapshot();
    let zones: HashMap<u32, String> =
        snapshot.zones().map(|(number, zone)| (number, zone.apex().to_string())).collect();

    head(
        &mut text,
        "mcrun_dns_queries_total",
        "counter",
        "Questions by zone, type, code, protocol and who had the answer.",
    );
    let mut shown: BTreeMap<String, u64> = BTreeMap::new();
    for (heard, count) in &totals.heard {
        let zone = heard.zone.and_then(|number| zones.get(&number)).map_or("", String::as_str);
        let protocol = match heard.protocol {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
        };
        let source = match (heard.forwarded, heard.zone) {
            (true, _) => "forwarded",
            (false, Some(_)) => "zone",
            (false, None) => "refused",
        };
        let labels = format!(
            "zone=\"{}\",type=\"{}\",rcode=\"{}\",protocol=\"{protocol}\",source=\"{source}\"",
            escaped(zone),
            type_name(heard.rtype),
            rcode::name(heard.code)
        );
        *shown.entry(labels).or_default() += count;
    }
    for (labels, count) in shown {
        let _ = writeln!(text, "mcrun_dns_queries_total{{{labels}}} {count}");
    }
    head(&mut text, "mcrun_dns_duration_seconds", "histogram", "How long answers took.");
    let mut sum = 0;
    for (index, count) in totals.times.iter().enumerate() {
        sum += count;
        let bound = BOUNDS.get(index).map_or("+Inf".to_owned(), |bound| seconds(*bound));
        let _ = writeln!(text, "mcrun_dns_duration_seconds_bucket{{le=\"{bound}\"}} {sum}");
    }
    let _ = writeln!(text, "mcrun_dns_duration_seconds_sum {}", seconds(totals.microseconds));
    let _ = writeln!(text, "mcrun_dns_duration_seconds_count {sum}");
    one(&mut text, "mcrun_dns_dropped_total", "counter", "Messages that got no answer.", totals.dropped);
    one(
        &mut text,
        "mcrun_dns_limited_total",
        "counter",
        "Questions beyond the limit of their client.",
        totals.limited,
    );

    head(&mut text, "mcrun_dns_zone_serial", "gauge", "The version of each zone.");
    let mut lines: Vec<_> = snapshot.zones().map(|(_, zone)| (zone.apex().to_string(), zone)).collect();
    lines.sort_by(|one, other| one.0.cmp(&other.0));
    for (name, zone) in &lines {
        let _ = writeln!(text, "mcrun_dns_zone_serial{{zone=\"{}\"}} {}", escaped(name), zone.soa.serial);
    }
    head(&mut text, "mcrun_dns_zone_records", "gauge", "The records of each zone.");
    for (name, zone) in &lines {
        let _ = writeln!(text, "mcrun_dns_zone_records{{zone=\"{}\"}} {}", escaped(name), zone.records());
    }
    if let Some(forwarder) = service.forwarder() {
        forwarding(&mut text, &forwarder.metrics());
    }
    text
}

fn forwarding(text: &mut String, figures: &dns::forward::Metrics) {
    let counters = [
        ("hits", "Questions answered from the cache.", figures.hits),
        ("misses", "Questions that were not in the cache.", figures.misses),
        ("stale", "Questions answered past the end of the answer.", figures.stale),
        ("prefetches", "Answers asked for anew before their end.", figures.prefetches),
        ("joined", "Questions that shared the answer to one under way.", figures.joined),
        ("failures", "Questions that nobody answered.", figures.failures),
        ("crowded", "Questions refused because too many were under way.", figures.crowded),
    ];
    for (name, help, value) in counters {
        one(text, &format!("mcrun_dns_forward_{name}_total"), "counter", help, value);
    }
    one(text, "mcrun_dns_cache_entries", "gauge", "Answers in the cache.", figures.entries);
    one(text, "mcrun_dns_cache_bytes", "gauge", "Memory that they take.", figures.bytes);
    head(
        text,
        "mcrun_dns_upstream_queries_total",
        "counter",
        "Questions to each upstream, by what came of them.",
    );
    for upstream in &figures.upstreams {
        let outcomes = [
            ("answered", upstream.answers),
            ("timeout", upstream.timeouts),
            ("overtaken", upstream.overtaken),
            ("unreachable", upstream.unreachable),
            ("untrusted", upstream.untrusted),
            ("malformed", upstream.malformed),
            ("refused", upstream.refused),
            ("busy", upstream.busy),
        ];
        for (outcome, count) in outcomes {
            let name = escaped(&upstream.upstream);
            let _ = writeln!(
                text,
                "mcrun_dns_upstream_queries_total{{upstream=\"{name}\",outcome=\"{outcome}\"}} {count}"
            );
        }
    }
    head(text, "mcrun_dns_upstream_mismatched_total", "counter", "Datagrams that answered another question.");
    for upstream in &figures.upstreams {
        let name = escaped(&upstream.upstream);
        let _ = writeln!(
            text,
            "mcrun_dns_upstream_mismatched_total{{upstream=\"{name}\"}} {}",
            upstream.mismatched
        );
    }
}

fn one(text: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    head(text, name, kind, help);
    let _ = writeln!(text, "{name} {value}");
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn seconds(microseconds: u64) -> String {
    format!("{}.{:06}", microseconds / 1_000_000, microseconds % 1_000_000)
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
