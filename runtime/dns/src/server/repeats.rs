//! Owns updates that come again: a client that saw no answer sends the same packet once more, and so does whoever
//! recorded it. As long as its signature holds it is answered as it was, and made no second time.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::signed::FUDGE;

/// Updates that are remembered: what a client makes in ten minutes at most, at seven a second. Beyond that the oldest is
/// forgotten.
pub(crate) const MOST_REMEMBERED: usize = 4096;
/// For so many seconds: a signature holds as long before as after its time.
const KEPT: u64 = 2 * FUDGE as u64;

/// What is known of an update.
pub(crate) enum Known<'a> {
    /// It is the first one.
    New(Repeat<'a>),
    /// It is being made.
    UnderWay,
    /// It was answered with this code.
    Answered(u8),
}

/// The updates of the last minutes, by their hash.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    codes: HashMap<Vec<u8>, Option<u8>>,
    order: VecDeque<(u64, Vec<u8>)>,
}

/// An update while it is made; forgotten where that is given up.
pub(crate) struct Repeat<'a> {
    all: &'a Repeats,
    hash: Vec<u8>,
    code: Option<u8>,
}

impl Repeats {
    /// Begins with the update that was signed with `hash`, at `now`, in seconds.
    pub(crate) fn begin(&self, hash: &[u8], now: u64) -> Known<'_> {
        let mut inner = self.inner();
        inner.forget(now);
        match inner.codes.get(hash) {
            Some(None) => return Known::UnderWay,
            Some(Some(code)) => return Known::Answered(*code),
            None => {}
        }
        inner.codes.insert(hash.to_vec(), None);
        inner.order.push_back((now, hash.to_vec()));
        Known::New(Repeat { all: self, hash: hash.to_vec(), code: None })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn forget(&mut self, now: u64) {
        // A clock that was set back keeps them for longer, and no more than as many.
        let is_late = |at: u64| now.saturating_sub(at) > KEPT;
        while self.order.len() >= MOST_REMEMBERED || self.order.front().is_some_and(|(at, _)| is_late(*at)) {
            let Some((_, hash)) = self.order.pop_front() else { return };
            self.codes.remove(&hash);
        }
    }
}

impl Repeat<'_> {
    /// It was answered with `code`; none where it is to be made again when it comes again.
    pub(crate) fn end(mut self, code: Option<u8>) {
        self.code = code;
    }
}

impl Drop for Repeat<'_> {
    fn drop(&mut self) {
        let mut inner = self.all.inner();
        match self.code {
            Some(code) => {
                if let Some(known) = inner.codes.get_mut(&self.hash) {
                    *known = Some(code);
                }
            }
            None => {
                inner.codes.remove(&self.hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(repeats: &Repeats, hash: &[u8], now: u64) -> &'static str {
        match repeats.begin(hash, now) {
            Known::New(repeat) => {
                repeat.end(Some(0));
                "new"
            }
            Known::UnderWay => "under way",
            Known::Answered(_) => "answered",
        }
    }

    #[test]
    fn an_update_is_remembered_as_long_as_its_signature_holds() {
        let repeats = Repeats::default();
        assert_eq!(known(&repeats, b"a", 1000), "new");
        assert_eq!(known(&repeats, b"a", 1000 + KEPT), "answered");
        assert_eq!(known(&repeats, b"b", 1000), "new");
        assert_eq!(known(&repeats, b"a", 1001 + KEPT), "new");
    }

    #[test]
    fn one_under_way_is_not_begun_again_and_one_given_up_is() {
        let repeats = Repeats::default();
        let Known::New(first) = repeats.begin(b"a", 1) else { panic!("it is new") };
        assert_eq!(known(&repeats, b"a", 1), "under way");
        drop(first);
        let Known::New(again) = repeats.begin(b"a", 1) else { panic!("it is new again") };
        again.end(None);
        assert_eq!(known(&repeats, b"a", 1), "new");
    }

    #[test]
    fn no_more_are_remembered_than_are_bounded() {
        let repeats = Repeats::default();
        for number in 0..2 * MOST_REMEMBERED {
            assert_eq!(known(&repeats, &number.to_be_bytes(), 1), "new");
        }
        let inner = repeats.inner();
        assert_eq!((inner.codes.len(), inner.order.len()), (MOST_REMEMBERED, MOST_REMEMBERED));
    }
}
