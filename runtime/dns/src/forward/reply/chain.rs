//! Owns which records of an answer follow from its question.

use domain::base::ParsedName;
use domain::base::iana::Rtype;
use domain::rdata::Cname;

use super::{BROKEN, Flaw, Parsed, ParsedOwner, Sent};

/// Aliases are followed this far; longer chains are loops or attacks.
const LONGEST_CHAIN: usize = 16;

/// The way from the name that was asked for, over its aliases.
pub(super) struct Chain<'r, 'a> {
    pub(super) kept: Vec<&'r Parsed<'a>>,
    pub(super) last: ParsedOwner<'a>,
    /// Whether records of the wanted type stand at its end.
    pub(super) ended: bool,
}

impl<'r, 'a> Chain<'r, 'a> {
    pub(super) fn follow(
        start: ParsedOwner<'a>,
        answer: &'r [Parsed<'a>],
        sent: &Sent<'_>,
    ) -> Result<Self, Flaw> {
        let mut chain = Self { kept: Vec::new(), last: start, ended: false };
        // Few, however many records there are: what follows looks at each record once for each of these.
        let mut owners = Vec::new();
        for _ in 0..LONGEST_CHAIN {
            owners.push(chain.last);
            let owned = |record: &&Parsed<'a>| record.class() == sent.class && record.owner() == chain.last;
            let wanted = |record: &&Parsed<'a>| sent.rtype == Rtype::ANY || record.rtype() == sent.rtype;
            let before = chain.kept.len();
            chain.kept.extend(answer.iter().filter(owned).filter(wanted));
            if chain.kept.len() > before {
                chain.ended = true;
                chain.keep_signatures(answer, &owners, sent);
                return Ok(chain);
            }
            let Some(alias) = answer.iter().filter(owned).find(|record| record.rtype() == Rtype::CNAME)
            else {
                chain.keep_signatures(answer, &owners, sent);
                return Ok(chain);
            };
            let whole = answer.iter().find(|record| {
                record.rtype() == Rtype::DNAME
                    && record.class() == sent.class
                    && chain.last.ends_with(&record.owner())
            });
            owners.extend(whole.map(|record| record.owner().deref_octets()));
            chain.kept.extend(whole);
            chain.kept.push(alias);
            chain.last = target(alias)?;
        }
        Err(Flaw::Malformed("its aliases lead on without end"))
    }

    fn keep_signatures(&mut self, answer: &'r [Parsed<'a>], owners: &[ParsedOwner<'a>], sent: &Sent<'_>) {
        if sent.dnssec_ok && !matches!(sent.rtype, Rtype::ANY | Rtype::RRSIG) {
            let signs = |record: &&Parsed<'a>| {
                record.rtype() == Rtype::RRSIG && owners.iter().any(|owner| *owner == record.owner())
            };
            self.kept.extend(answer.iter().filter(signs));
        }
    }
}

fn target<'a>(alias: &Parsed<'a>) -> Result<ParsedOwner<'a>, Flaw> {
    let record = alias.clone().into_record::<Cname<ParsedName<&'a [u8]>>>().map_err(|_| BROKEN)?;
    Ok(record.ok_or(BROKEN)?.into_data().into_cname())
}
