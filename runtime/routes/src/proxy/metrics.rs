//! Owns figures as Prometheus reads them.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Proxy;
use super::kept::Kept;

/// Bounds of the histogram of latencies, in powers of two of a microsecond: 0.5 ms to 67 s.
const POWERS: [u32; 9] = [9, 11, 13, 15, 17, 19, 21, 23, 26];

/// Text in a label (Prometheus' exposition format: `\`, `"` and line ends are escaped).
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.0.write_fmt(line);
        self.0.push('\n');
    }

    /// A figure of each route.
    fn each(&mut self, kept: &[Arc<Kept>], family: (&str, &str, &str), figure: impl Fn(&Kept) -> u64) {
        let (name, kind, help) = family;
        self.family(name, kind, help);
        for kept in kept {
            let route = escaped(&kept.key.to_string());
            self.line(format_args!("{name}{{route=\"{route}\"}} {}", figure(kept)));
        }
    }
}

fn of(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

impl Proxy {
    /// The figures of every route and back end, in Prometheus' text format.
    pub fn metrics(&self) -> String {
        let kept = self.served();
        let mut page = Page(String::with_capacity(1024 + kept.len() * 4096));
        page.family("mcrun_routes_connections", "gauge", "Connections of clients that are open.");
        page.line(format_args!("mcrun_routes_connections {}", self.places.taken().count()));
        if let Some(log) = &self.log {
            page.family("mcrun_routes_log_lost_total", "counter", "Lines that the log of requests lacks.");
            page.line(format_args!("mcrun_routes_log_lost_total {}", log.lost()));
        }
        of_routes(&mut page, &kept);
        of_answers(&mut page, &kept);
        of_backends(&mut page, &kept);
        page.0
    }
}

fn of_routes(page: &mut Page, kept: &[Arc<Kept>]) {
    let counter = |name, help| (name, "counter", help);
    let gauge = |name, help| (name, "gauge", help);
    page.each(kept, counter("mcrun_route_requests_total", "Requests, or connections with l4."), |kept| {
        of(&kept.counts.requests)
    });
    page.each(
        kept,
        counter("mcrun_route_failed_total", "Requests that the proxy refused or failed."),
        |kept| of(&kept.counts.failed),
    );
    page.each(kept, counter("mcrun_route_received_bytes_total", "Octets from clients."), |kept| {
        of(&kept.counts.received)
    });
    page.each(kept, counter("mcrun_route_sent_bytes_total", "Octets to clients."), |kept| {
        of(&kept.counts.sent)
    });
    page.each(kept, gauge("mcrun_route_active", "Requests under way."), |kept| kept.active.count() as u64);
    page.each(kept, gauge("mcrun_route_tunnels", "Tunnels that are open."), |kept| of(&kept.counts.tunnels));
    page.each(kept, gauge("mcrun_route_waiting", "Requests that wait for a pause to end."), |kept| {
        of(&kept.counts.waiting)
    });
    page.each(kept, gauge("mcrun_route_paused", "Whether requests wait."), |kept| {
        kept.gate.is_closed().into()
    });
}

fn of_answers(page: &mut Page, kept: &[Arc<Kept>]) {
    page.family("mcrun_route_answers_total", "counter", "Answers by the class of their status.");
    for kept in kept {
        let route = escaped(&kept.key.to_string());
        for (count, class) in kept.counts.statuses.iter().zip(1..).filter(|(count, _)| of(count) > 0) {
            let count = of(count);
            page.line(format_args!(
                "mcrun_route_answers_total{{route=\"{route}\",class=\"{class}xx\"}} {count}"
            ));
        }
    }
    let name = "mcrun_route_latency_seconds";
    page.family(name, "histogram", "Until answers began.");
    for kept in kept {
        let (below, all) = kept.counts.latencies.below(POWERS);
        if all == 0 {
            continue;
        }
        let route = escaped(&kept.key.to_string());
        for (power, count) in POWERS.iter().zip(below) {
            let bound = (1_u64 << power) as f64 / 1e6;
            page.line(format_args!("{name}_bucket{{route=\"{route}\",le=\"{bound}\"}} {count}"));
        }
        page.line(format_args!("{name}_bucket{{route=\"{route}\",le=\"+Inf\"}} {all}"));
        let sum = of(&kept.counts.micros) as f64 / 1e6;
        page.line(format_args!("{name}_sum{{route=\"{route}\"}} {sum}"));
        page.line(format_args!("{name}_count{{route=\"{route}\"}} {all}"));
    }
}

fn of_backends(page: &mut Page, kept: &[Arc<Kept>]) {
    let figures: Vec<_> = kept
        .iter()
        .flat_map(|kept| {
            let route = escaped(&kept.key.to_string());
            kept.members().iter().map(|member| (route.clone(), member.figures())).collect::<Vec<_>>()
        })
        .collect();
    let mut each = |name: &str, kind: &str, help: &str, figure: fn(&crate::driver::BackendFigures) -> u64| {
        page.family(name, kind, help);
        for (route, figures) in &figures {
            let (address, value) = (figures.address, figure(figures));
            page.line(format_args!("{name}{{route=\"{route}\",backend=\"{address}\"}} {value}"));
        }
    };
    each("mcrun_backend_up", "gauge", "Whether requests go to it.", |figures| figures.healthy.into());
    each("mcrun_backend_active", "gauge", "Requests under way there.", |figures| figures.active);
    each("mcrun_backend_requests_total", "counter", "Requests that went there.", |figures| figures.requests);
    each("mcrun_backend_failed_total", "counter", "Requests that failed there.", |figures| figures.failed);
}
