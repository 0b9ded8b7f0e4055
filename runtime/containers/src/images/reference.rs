//! Owns the names of images: `HOST[:PORT]/PATH[:TAG][@sha256:HEX]`, read and written as the engines do.

use std::fmt;
use std::str::FromStr;

use effect::{Code, Error, Result};

/// The registry of names without a host.
const DEFAULT_REGISTRY: &str = "docker.io";
/// The host of images that never leave the node.
const LOCAL: &str = "localhost";
/// The longest name, as the distribution specification bounds it.
const LONGEST: usize = 255;
const LONGEST_TAG: usize = 128;

/// The name of an image, taken apart and in full: `busybox:1.36` is `docker.io/library/busybox:1.36`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// The registry, `mcr.example:8443`.
    pub registry: String,
    /// The repository within it, `team/web`.
    pub repository: String,
    /// The tag.
    pub tag: Option<String>,
    /// The digest of the manifest, `sha256:` and 64 hexadecimal digits.
    pub digest: Option<String>,
}

impl Reference {
    /// Registry and repository: `mcr.example:8443/team/web`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The name with its tag, or with its digest where it has no tag: what capabilities and records call it.
    #[must_use]
    pub fn tagged(&self) -> String {
        match (&self.tag, &self.digest) {
            (Some(tag), _) => format!("{}:{tag}", self.name()),
            (None, Some(digest)) => format!("{}@{digest}", self.name()),
            (None, None) => format!("{}:latest", self.name()),
        }
    }

    /// The name that means one content only, where there is a digest; engines refuse tag and digest together in some calls.
    #[must_use]
    pub fn exact(&self) -> String {
        match &self.digest {
            Some(digest) => format!("{}@{digest}", self.name()),
            None => self.tagged(),
        }
    }

    /// Registry, repository and digest.
    #[must_use]
    pub fn untagged(&self) -> String {
        Self { tag: None, ..self.clone() }.to_string()
    }

    /// The tag, `latest` where none is given.
    #[must_use]
    pub fn tag_or_latest(&self) -> &str {
        self.tag.as_deref().unwrap_or("latest")
    }

    /// The same image at exactly this content.
    #[must_use]
    pub fn at(&self, digest: &str) -> Self {
        Self { digest: Some(digest.to_owned()), ..self.clone() }
    }

    /// Whether it never leaves the node: no registry is asked for it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.registry == LOCAL
    }

    /// Whether what it means depends on the moment: no digest, and no tag or `latest`.
    #[must_use]
    pub fn is_floating(&self) -> bool {
        self.digest.is_none() && self.tag.as_deref().is_none_or(|tag| tag == "latest")
    }

    /// Refuses a name whose meaning depends on the moment, unless that was asked for.
    ///
    /// # Errors
    /// `MC-C020` for `latest` and for no tag at all.
    pub fn check_fixed(&self, given: &str, allow_latest: bool) -> Result<()> {
        if allow_latest || !self.is_floating() {
            return Ok(());
        }
        let what = if self.tag.is_some() { "has the tag `latest`" } else { "has no tag" };
        Err(Error::new(
            Code::ImageFloating,
            format!("image `{given}` {what}: what it means depends on the moment"),
        )
        .hint("name a version such as `:v1.2.0` or a digest, or set `allow_latest = true`"))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.name())?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        self.digest.as_ref().map_or(Ok(()), |digest| write!(formatter, "@{digest}"))
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let shown: String = text.chars().take(80).collect();
        let wrong = |why: &str| {
            Error::new(Code::Argument, format!("`{shown}` is not the name of an image: {why}"))
                .hint("names read `registry.example/team/web:v1.2.0`")
        };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
            Some(_) => return Err(wrong("what follows `@` is `sha256:` and 64 hexadecimal digits")),
            None => (text, None),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag.to_owned())),
            _ => (rest, None),
        };
        if tag.as_ref().is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong("a tag has letters, digits, `_`, `.` and `-`, at most 128"));
        }
        let (registry, repository) = match path.split_once('/') {
            Some((first, more)) if is_host(first) => (first.to_owned(), more.to_owned()),
            Some(_) => (DEFAULT_REGISTRY.to_owned(), path.to_owned()),
            None => (DEFAULT_REGISTRY.to_owned(), format!("library/{path}")),
        };
        if !registry.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte)) {
            return Err(wrong("the registry is a host name or address, with a port if need be"));
        }
        if !repository.split('/').all(is_component) || registry.len() + repository.len() > LONGEST {
            return Err(wrong(
                "the path has lower-case letters, digits and single `.`, `_` or `-` between them",
            ));
        }
        Ok(Self { registry, repository, tag, digest })
    }
}

fn is_host(first: &str) -> bool {
    first == LOCAL || first.contains(['.', ':'])
}

fn is_tag(tag: &str) -> bool {
    tag.len() <= LONGEST_TAG
        && tag.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
        && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

fn is_component(component: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    bytes.first().copied().is_some_and(is_plain)
        && bytes.last().copied().is_some_and(is_plain)
        && bytes.iter().all(|&byte| is_plain(byte) || b"._-".contains(&byte))
        && !component.contains("..")
}

/// Whether `text` is the digest of a manifest or config.
pub(crate) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Whether `text` means one content by itself: the id of an image.
pub(crate) fn is_id(text: &str) -> bool {
    is_digest(text) || is_digest(&format!("sha256:{text}"))
}

/// `given` at exactly the content of the image that it means on this node: the digest of the same repository among
/// `digests`, and the bare id where the engine knows none.
pub(crate) fn pinned(given: &str, digests: &[String], id: &str) -> String {
    let Ok(reference) = given.parse::<Reference>() else { return given.to_owned() };
    if reference.digest.is_some() || is_id(given) {
        return given.to_owned();
    }
    // An engine looks for `web` beneath `localhost/` first.
    let is_same = |known: &Reference| {
        known.name() == reference.name()
            || (!given.contains('/')
                && known.registry == LOCAL
                && reference.repository == format!("library/{}", known.repository))
    };
    let known = digests.iter().filter_map(|digest| digest.parse::<Reference>().ok()).find(is_same);
    match known {
        Some(known) => Reference { tag: reference.tag, ..known }.to_string(),
        None if id.is_empty() => given.to_owned(),
        None => format!("sha256:{}", id.trim_start_matches("sha256:")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(text: &str) -> String {
        text.parse::<Reference>().unwrap().to_string()
    }

    #[test]
    fn names_are_read_in_full() {
        assert_eq!(full("busybox"), "docker.io/library/busybox");
        assert_eq!(full("team/web:v1"), "docker.io/team/web:v1");
        assert_eq!(full("127.0.0.1:5000/web:v1"), "127.0.0.1:5000/web:v1");
        assert_eq!(full("localhost/web"), "localhost/web");
        assert_eq!(full("mcr.example:8443/a/b-c"), "mcr.example:8443/a/b-c");
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(full(&format!("x.io/a:v1@{digest}")), format!("x.io/a:v1@{digest}"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(300);
        for text in [
            "",
            "/",
            "a/",
            "x.io/",
            "x.io//a",
            "x.io/../a",
            "x.io/a..b",
            "A/b:1",
            "x.io/a:",
            "x.io/a:b c",
            "x.io/a@sha256:12",
            "x.io/a@md5:00",
            "x.io/a:v1?x=1",
            "x.io/a%2fb",
            "x y.io/a",
            "user@x.io/a",
            "http://x.io/a",
            &long,
            "x.io/a\n",
            "x.io/a\0",
        ] {
            let error = text.parse::<Reference>().unwrap_err();
            assert_eq!(error.code, Code::Argument, "{text:?}");
        }
    }

    #[test]
    fn a_name_without_version_is_refused_unless_asked_for() {
        for text in ["x.io/web", "x.io/web:latest"] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.check_fixed(text, false).unwrap_err().code, Code::ImageFloating);
            reference.check_fixed(text, true).unwrap();
        }
        let digest = format!("x.io/web:latest@sha256:{}", "0".repeat(64));
        digest.parse::<Reference>().unwrap().check_fixed(&digest, false).unwrap();
    }

    #[test]
    fn an_image_is_pinned_by_the_digest_of_its_own_repository() {
        let (one, two) = (format!("sha256:{}", "1".repeat(64)), format!("sha256:{}", "2".repeat(64)));
        let digests = [format!("localhost/web@{one}"), format!("x.io/web@{two}")];
        assert_eq!(pinned("x.io/web:v1", &digests, "id"), format!("x.io/web:v1@{two}"));
        assert_eq!(pinned("web:v1", &digests, "id"), format!("localhost/web:v1@{one}"));
        assert_eq!(pinned("y.io/web:v1", &digests, &one), one);
        let exact = format!("x.io/web@{one}");
        assert_eq!(pinned(&exact, &digests, "id"), exact);
    }
}
