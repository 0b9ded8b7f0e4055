//! Owns the text in which figures are shown to Prometheus (exposition format 0.0.4).

use std::fmt::Write as _;

use super::series::{BOUNDS, Figure, Histogram, Kind, Sample};

/// What the page is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The page.
#[must_use]
pub fn text(figures: &[Figure]) -> String {
    let mut text = String::new();
    for figure in figures {
        let family = figure.family;
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(text, "# HELP {} {}\n# TYPE {} {kind}", family.name, family.help, family.name);
        for (values, sample) in &figure.samples {
            let labels: Vec<String> = family
                .labels
                .iter()
                .zip(values)
                .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
                .collect();
            match sample {
                Sample::Number(number) => line(&mut text, family.name, &labels, *number),
                Sample::Histogram(times) => histogram(&mut text, family.name, &labels, times),
            }
        }
    }
    text
}

fn histogram(text: &mut String, name: &str, labels: &[String], times: &Histogram) {
    let mut sum = 0;
    for (index, count) in times.counts.iter().enumerate() {
        sum += count;
        let bound = BOUNDS.get(index).map_or("+Inf".to_owned(), f64::to_string);
        let labels = [labels, &[format!("le=\"{bound}\"")]].concat();
        line(text, &format!("{name}_bucket"), &labels, sum as f64);
    }
    line(text, &format!("{name}_sum"), labels, times.sum);
    line(text, &format!("{name}_count"), labels, sum as f64);
}

fn line(text: &mut String, name: &str, labels: &[String], number: f64) {
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    let _ = writeln!(text, "{name}{labels} {number}");
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
