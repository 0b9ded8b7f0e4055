//! Owns how one run is carried to its end through any number of kills.

use std::time::Duration;

use super::device::Device;
use super::ledger::Page;
use super::proof::{Observed, Proof};
use crate::harness::{Place, Seen};

/// How an attempt is to end.
#[derive(Debug, Clone)]
pub(super) enum Fate {
    /// At this point, see `tests/probed.rs`.
    At(String),
    /// After this time.
    After(Duration),
    /// By itself.
    Lives,
}

/// One run: how it is started, and what is known of it.
pub(super) struct Carried<'a> {
    pub(super) place: &'a Place,
    pub(super) words: &'a [String],
    pub(super) proof: Proof<'a>,
    /// Where it lies, if that is to lose power after every attempt.
    pub(super) device: Option<&'a Device>,
    /// The seed from which the clock is set forth and back, if it is.
    pub(super) clock_jumps: Option<u64>,
    observed: Option<Observed>,
}

impl<'a> Carried<'a> {
    pub(super) fn new(
        place: &'a Place,
        page: &'a Page<'a>,
        words: &'a [String],
        run: &'a str,
        takes_back: bool,
    ) -> Self {
        Self {
            place,
            words,
            proof: Proof::new(place, page, run, takes_back),
            device: None,
            clock_jumps: None,
            observed: None,
        }
    }

    /// Starts or resumes the run once. Whether it was killed.
    pub(super) fn attempt(&mut self, fate: &Fate) -> bool {
        let words = match self.observed.take() {
            Some(observed) if observed.is_over() => {
                self.observed = Some(observed);
                return false;
            }
            Some(observed) => match &observed.run {
                Some(run) => {
                    let mut words = vec!["resume".to_owned(), run.id.to_string()];
                    words.extend(self.proof.decisions(&observed));
                    words
                }
                None => self.words.to_vec(),
            },
            None => self.words.to_vec(),
        };
        let seen = self.start(&words, fate);
        let killed = seen.code.is_none();
        if let Some(device) = self.device {
            device.lose_power();
        }
        let observed = self.proof.observe(killed);
        let as_expected = match seen.code {
            Some(0) => observed.is_over(),
            Some(_) => observed.pauses_by_itself(),
            None => !matches!(fate, Fate::Lives),
        };
        assert!(as_expected, "{words:?}: {seen}");
        self.observed = Some(observed);
        killed
    }

    fn start(&self, words: &[String], fate: &Fate) -> Seen {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let jumps = self.clock_jumps.map(|seed| seed.to_string());
        let mut variables: Vec<(&str, &str)> = Vec::new();
        variables.extend(jumps.as_deref().map(|jumps| ("MCRUN_CLOCK_JUMPS", jumps)));
        if let Fate::At(point) = fate {
            variables.push(("MCRUN_CRASH_AT", point));
        }
        let mut started = self.place.start_with(&words, &variables);
        if let Fate::After(time) = fate {
            std::thread::sleep(*time);
            started.kill();
        }
        started.end()
    }

    /// Lets the run come to its end, and checks it.
    pub(super) fn finish(&mut self) -> Observed {
        // A second time for a script that pauses by itself.
        self.attempt(&Fate::Lives);
        self.attempt(&Fate::Lives);
        let observed = self.observed.take().expect("it was observed above");
        self.proof.check_end(&observed);
        observed
    }
}
