//! Owns the numbers behind figures: one for each family and its labels, within a bound. What would go beyond it is
//! counted under the label `other`, so that no playbook and no caller decides how much is kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// So many different labels are kept for a family.
const MOST: usize = 500;
/// No label is longer, in bytes.
const LONGEST: usize = 128;
/// The upper bounds of the parts of a histogram, in seconds.
pub const BOUNDS: [f64; 12] = [0.001, 0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 60.0, 300.0, 1800.0];

/// What a figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Times, by how long they are.
    Histogram,
}

/// A family of figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// What its figures are.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

impl Family {
    pub(super) const fn counter(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Self {
        Self { name, help, kind: Kind::Counter, labels }
    }

    pub(super) const fn gauge(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Self {
        Self { name, help, kind: Kind::Gauge, labels }
    }

    pub(super) const fn histogram(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Self {
        Self { name, help, kind: Kind::Histogram, labels }
    }
}

/// A family with its numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Which.
    pub family: Family,
    /// The values of its labels, and the number.
    pub samples: Vec<(Vec<String>, Sample)>,
}

/// One number, or many.
#[derive(Debug, Clone, PartialEq)]
pub enum Sample {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a histogram.
    Histogram(Histogram),
}

/// Times by how long they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// How many are within each of [`BOUNDS`] and beyond the one before, and how many beyond the last.
    pub counts: [u64; BOUNDS.len() + 1],
    /// Their sum in seconds.
    pub sum: f64,
}

impl Histogram {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

type Values = BTreeMap<Vec<String>, Sample>;

/// Every number, by the name of its family.
#[derive(Debug, Clone, Default)]
pub(super) struct Series(Arc<Mutex<BTreeMap<&'static str, Values>>>);

impl Series {
    pub(super) fn add(&self, family: &Family, labels: &[&str], count: u64) {
        self.change(family, labels, Sample::Number(0.0), |sample| {
            if let Sample::Number(number) = sample {
                *number += count as f64;
            }
        });
    }

    pub(super) fn set(&self, family: &Family, labels: &[&str], value: u64) {
        self.change(family, labels, Sample::Number(0.0), |sample| *sample = Sample::Number(value as f64));
    }

    pub(super) fn observe(&self, family: &Family, labels: &[&str], took: Duration) {
        let empty = Histogram { counts: [0; BOUNDS.len() + 1], sum: 0.0 };
        self.change(family, labels, Sample::Histogram(empty), |sample| {
            if let Sample::Histogram(histogram) = sample {
                let seconds = took.as_secs_f64();
                let place = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
                histogram.counts[place] += 1;
                histogram.sum += seconds;
            }
        });
    }

    fn change(&self, family: &Family, labels: &[&str], empty: Sample, change: impl FnOnce(&mut Sample)) {
        debug_assert_eq!(family.labels.len(), labels.len(), "{}", family.name);
        let labels: Vec<String> =
            labels.iter().map(|label| label[..label.floor_char_boundary(LONGEST)].to_owned()).collect();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let values = all.entry(family.name).or_default();
        let is_full = values.len() >= MOST && !values.contains_key(&labels);
        let labels = if is_full { vec!["other".to_owned(); labels.len()] } else { labels };
        change(values.entry(labels).or_insert(empty));
    }

    pub(super) fn figures(&self, families: &[Family]) -> Vec<Figure> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let samples = |family: &Family| {
            all.get(family.name)
                .into_iter()
                .flatten()
                .map(|(labels, sample)| (labels.clone(), sample.clone()))
                .collect()
        };
        families.iter().map(|family| Figure { family: *family, samples: samples(family) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_counted_the_number_of_lines_has_an_end() {
        let (series, family) = (Series::default(), Family::counter("x", "X.", &["one", "two"]));
        for number in 0..2 * MOST {
            series.add(&family, &[&number.to_string(), &"é".repeat(LONGEST)], 1);
        }
        series.add(&family, &["0", &"é".repeat(LONGEST)], 1);
        let figures = series.figures(&[family]);
        let samples = &figures[0].samples;
        assert_eq!(samples.len(), MOST + 1);
        let number = |labels: &[&str]| {
            samples.iter().find(|(known, _)| known == labels).map(|(_, number)| number.clone())
        };
        assert_eq!(number(&["other", "other"]), Some(Sample::Number(MOST as f64)));
        assert_eq!(number(&["0", &"é".repeat(LONGEST / 2)]), Some(Sample::Number(2.0)));
    }
}
