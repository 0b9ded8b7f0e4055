//! Owns how figures become metrics of OTLP: counters are sums that only grow, gauges are gauges, histograms keep their
//! bounds. All count from the start of the process.

use journal::Timestamp;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum,
};

use super::spans::{instrumentation, nanos, resource, text};
use crate::metrics::{BOUNDS, Figure, Kind, Sample};

/// One message with `figures` as of `now`.
#[must_use]
pub fn metrics(node: &str, figures: &[Figure], now: Timestamp) -> ExportMetricsServiceRequest {
    let begin = started(figures);
    let metrics = figures.iter().map(|figure| metric(figure, begin, nanos(now))).collect();
    let scope_metrics =
        vec![ScopeMetrics { scope: Some(instrumentation()), metrics, ..ScopeMetrics::default() }];
    let resource = Some(resource(node));
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }],
    }
}

/// When the process started, by its own figure.
fn started(figures: &[Figure]) -> u64 {
    let figure = figures.iter().find(|figure| figure.family.name == "mcrun_process_start_time_seconds");
    match figure.and_then(|figure| figure.samples.first()) {
        Some((_, Sample::Number(seconds))) => (seconds * 1e9) as u64,
        _ => 0,
    }
}

fn metric(figure: &Figure, begin: u64, now: u64) -> Metric {
    let cumulative = AggregationTemporality::Cumulative.into();
    let numbers = || figure.samples.iter().filter_map(|sample| number(figure, sample, begin, now)).collect();
    let data = match figure.family.kind {
        Kind::Counter => {
            Data::Sum(Sum { data_points: numbers(), aggregation_temporality: cumulative, is_monotonic: true })
        }
        Kind::Gauge => Data::Gauge(Gauge { data_points: numbers() }),
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: figure
                .samples
                .iter()
                .filter_map(|sample| times(figure, sample, begin, now))
                .collect(),
            aggregation_temporality: cumulative,
        }),
    };
    Metric {
        name: figure.family.name.to_owned(),
        description: figure.family.help.to_owned(),
        unit: unit(figure.family.name).to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn unit(name: &str) -> &'static str {
    if name.contains("_seconds") {
        "s"
    } else if name.contains("_bytes") {
        "By"
    } else {
        "1"
    }
}

fn attributes(figure: &Figure, labels: &[String]) -> Vec<KeyValue> {
    figure.family.labels.iter().zip(labels).map(|(name, value)| text(name, value)).collect()
}

fn number(
    figure: &Figure,
    (labels, sample): &(Vec<String>, Sample),
    begin: u64,
    now: u64,
) -> Option<NumberDataPoint> {
    let Sample::Number(number) = sample else { return None };
    Some(NumberDataPoint {
        attributes: attributes(figure, labels),
        start_time_unix_nano: begin,
        time_unix_nano: now,
        value: Some(Value::AsDouble(*number)),
        ..NumberDataPoint::default()
    })
}

fn times(
    figure: &Figure,
    (labels, sample): &(Vec<String>, Sample),
    begin: u64,
    now: u64,
) -> Option<HistogramDataPoint> {
    let Sample::Histogram(times) = sample else { return None };
    Some(HistogramDataPoint {
        attributes: attributes(figure, labels),
        start_time_unix_nano: begin,
        time_unix_nano: now,
        count: times.count(),
        sum: Some(times.sum),
        bucket_counts: times.counts.to_vec(),
        explicit_bounds: BOUNDS.to_vec(),
        ..HistogramDataPoint::default()
    })
}
