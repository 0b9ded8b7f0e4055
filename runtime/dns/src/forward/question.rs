//! Owns what is asked of the forwarder: a question as the server read it, and the key under which its answer is kept.

use std::fmt::Write as _;
use std::time::Instant;

use domain::base::Name;
use domain::base::iana::{Class, Rtype};

/// A point on the clock that nobody sets: what the wall clock does never ages an answer.
pub type Moment = Instant;

/// The longest name on the wire, RFC 1035 section 3.1.
pub const LONGEST_NAME: usize = 255;
/// Flags, type and class in front of the name.
const KEY_HEAD: usize = 5;
pub(super) const LONGEST_KEY: usize = KEY_HEAD + LONGEST_NAME;
/// What a client without EDNS takes over UDP, RFC 1035 section 2.3.4.
pub const PLAIN_LIMIT: usize = 512;

/// One question of one client, borrowed from the packet that it came in.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The id that the answer repeats.
    pub id: u16,
    /// RD: a question without it is refused, so that nobody reads from the cache what others ask.
    pub recursion_desired: bool,
    /// CD: the client checks signatures itself, RFC 4035 section 3.2.2.
    pub checking_disabled: bool,
    /// Whether the client sent an OPT record, RFC 6891; only then one is sent back.
    pub edns: bool,
    /// DO: the client wants signatures, RFC 3225.
    pub dnssec_ok: bool,
    /// The largest answer in bytes that the client takes: 512 or its EDNS size over UDP, 65,535 over TCP.
    pub limit: usize,
    /// The name in wire form, letters lower-case, not compressed.
    pub name: &'a [u8],
    /// The question as the client wrote it, name, type and class: its case is given back.
    pub original: &'a [u8],
    /// The type that is asked for.
    pub rtype: Rtype,
    /// The class that is asked for.
    pub class: Class,
}

/// A question that outlives its packet.
#[derive(Debug, Clone)]
pub struct OwnedQuestion {
    id: u16,
    recursion_desired: bool,
    checking_disabled: bool,
    edns: bool,
    dnssec_ok: bool,
    limit: usize,
    original: Box<[u8]>,
    name: Box<[u8]>,
    rtype: Rtype,
    class: Class,
}

impl Question<'_> {
    /// The same question on its own memory.
    #[must_use]
    pub fn to_owned(&self) -> OwnedQuestion {
        OwnedQuestion {
            id: self.id,
            recursion_desired: self.recursion_desired,
            checking_disabled: self.checking_disabled,
            edns: self.edns,
            dnssec_ok: self.dnssec_ok,
            limit: self.limit,
            original: self.original.into(),
            name: self.name.into(),
            rtype: self.rtype,
            class: self.class,
        }
    }

    /// What tells this question from others whose answers differ; `None` for names that cannot be.
    pub(super) fn key<'b>(&self, buffer: &'b mut [u8; LONGEST_KEY]) -> Option<&'b [u8]> {
        let end = KEY_HEAD + self.name.len();
        let flags = u8::from(self.dnssec_ok) | u8::from(self.checking_disabled) << 1;
        buffer[0] = flags;
        buffer[1..3].copy_from_slice(&self.rtype.to_int().to_be_bytes());
        buffer[3..5].copy_from_slice(&self.class.to_int().to_be_bytes());
        buffer.get_mut(KEY_HEAD..end)?.copy_from_slice(self.name);
        Some(&buffer[..end])
    }
}

impl OwnedQuestion {
    /// A question of mcrun's own, as a client with EDNS over TCP would ask it.
    ///
    /// # Errors
    /// The text is no name.
    pub fn new(name: &str, rtype: Rtype) -> Result<Self, domain::base::name::FromStrError> {
        let mut name = Name::vec_from_str(name)?;
        name.make_canonical();
        let name = name.as_slice();
        let mut original = name.to_vec();
        original.extend(rtype.to_int().to_be_bytes());
        original.extend(Class::IN.to_int().to_be_bytes());
        Ok(Self {
            id: 0,
            recursion_desired: true,
            checking_disabled: false,
            edns: true,
            dnssec_ok: false,
            limit: usize::from(u16::MAX),
            original: original.into(),
            name: name.into(),
            rtype,
            class: Class::IN,
        })
    }

    /// The same question for a name that one of ours leads to, in any case.
    #[must_use]
    pub fn of(&self, name: &[u8]) -> Self {
        self.renamed(&name.to_ascii_lowercase())
    }

    /// The same question of a client that takes any answer.
    #[must_use]
    pub fn whole(&self) -> Self {
        Self { limit: usize::from(u16::MAX), ..self.clone() }
    }

    /// The same question for another name, in lower-case wire form.
    pub(super) fn renamed(&self, name: &[u8]) -> Self {
        let mut original = name.to_vec();
        original.extend(self.rtype.to_int().to_be_bytes());
        original.extend(self.class.to_int().to_be_bytes());
        Self { name: name.into(), original: original.into(), ..self.clone() }
    }

    /// The question as the other functions take it.
    #[must_use]
    pub fn borrow(&self) -> Question<'_> {
        Question {
            id: self.id,
            recursion_desired: self.recursion_desired,
            checking_disabled: self.checking_disabled,
            edns: self.edns,
            dnssec_ok: self.dnssec_ok,
            limit: self.limit,
            name: &self.name,
            original: &self.original,
            rtype: self.rtype,
            class: self.class,
        }
    }
}

/// A wire name for people, with what is not printable escaped.
pub(super) fn shown(name: &[u8]) -> String {
    Name::from_slice(name).map_or_else(
        |_| {
            let mut text = String::new();
            for byte in name {
                let _ = write!(text, "\\{byte:03}");
            }
            text
        },
        |name| name.to_string(),
    )
}

/// The name and each of its parents, longest first, the root last.
pub(super) fn suffixes(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(name);
    std::iter::from_fn(move || {
        let current = rest?;
        let length = usize::from(*current.first()?);
        rest = if length == 0 { None } else { current.get(1 + length..) };
        Some(current)
    })
}
