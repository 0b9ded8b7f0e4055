//! Owns pages: as much as one answer may hold, and where the next begins.

use effect::Result;
use prost::Message;

use crate::route::Key;

/// Octets of a page, and how many it names: whoever asks holds no more.
const LARGEST: usize = 1 << 20;
const MOST: usize = 1000;

/// The page of `found`, which is sorted, after the route with the text `after`.
pub(super) fn of<T: Message>(found: impl Iterator<Item = (Key, T)>, after: &str) -> Result<(Vec<T>, String)> {
    let after = if after.is_empty() { None } else { Some(after.parse::<Key>()?) };
    let mut rest = found.filter(|(key, _)| after.as_ref().is_none_or(|after| key > after)).peekable();
    let (mut page, mut octets, mut last) = (Vec::new(), 0, String::new());
    for (key, message) in rest.by_ref() {
        octets += message.encoded_len();
        page.push(message);
        last = key.to_string();
        if octets >= LARGEST || page.len() >= MOST {
            break;
        }
    }
    let next = if rest.peek().is_some() { last } else { String::new() };
    Ok((page, next))
}

#[cfg(test)]
mod tests {
    use api::v1;

    use super::*;

    #[test]
    fn pages_hold_everything_once() {
        let all: Vec<Key> = (1..=2500).map(|port| format!("a.example:{port}").parse().unwrap()).collect();
        let (mut after, mut seen, mut pages) = (String::new(), Vec::new(), 0);
        loop {
            let found = all.iter().map(|key| (key.clone(), crate::remote::convert::key_to(key)));
            let (page, next): (Vec<v1::Key>, String) = of(found, &after).unwrap();
            seen.extend(page.into_iter().map(|key| key.listen));
            pages += 1;
            if next.is_empty() {
                break;
            }
            after = next;
        }
        assert_eq!(pages, 3);
        assert_eq!(seen, (1..=2500).collect::<Vec<u32>>());
        assert!(of(std::iter::empty::<(Key, v1::Key)>(), "nonsense").is_err());
    }
}
