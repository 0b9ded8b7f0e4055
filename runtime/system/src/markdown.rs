//! Owns how Markdown that a script wrote is shown: as HTML that a page may take in as it is, and as plain text for a terminal.
//! Whoever writes it may be hostile to whoever reads it: no markup of its own, no address but of the web and of mail, no
//! control sequence, and bounds on what little text can be blown up to.

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// Beyond so many pieces a text breaks off: a table of few letters has millions of cells.
const MOST_PIECES: usize = 50_000;
/// What lies deeper is shown at this depth.
const DEEPEST: usize = 24;
/// What is shown behind the place at which a text was broken off.
const BROKEN_OFF: &str = "… (the rest is not shown: it is too much)";

/// The text as HTML.
#[must_use]
pub fn html(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() * 2);
    pulldown_cmark::html::push_html(&mut shown, pieces(text).into_iter());
    shown
}

/// The text for a terminal, without a control character but line feeds.
#[must_use]
pub fn terminal(text: &str) -> String {
    let mut page = Page::default();
    pieces(text).into_iter().for_each(|piece| page.put(piece));
    let text = page.text.trim_end();
    if text.is_empty() { String::new() } else { format!("{text}\n") }
}

/// `text` without what would move a terminal's cursor, colour it or turn its direction.
#[must_use]
pub fn plain(text: &str) -> String {
    let letters = text.chars().map(|letter| if letter == '\t' { ' ' } else { letter });
    letters.filter(|letter| *letter == '\n' || !is_sly(*letter)).collect()
}

/// The same in one line.
#[must_use]
pub fn line(text: &str) -> String {
    plain(text).replace('\n', " ")
}

/// Whether a letter shows nothing, or other letters elsewhere than they stand.
#[must_use]
pub fn is_sly(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// An address to which a link may lead.
fn is_safe(address: &str) -> bool {
    let scheme =
        |begin: &str| address.get(..begin.len()).is_some_and(|found| found.eq_ignore_ascii_case(begin));
    !address.chars().any(is_sly) && ["https://", "http://", "mailto:"].iter().any(|begin| scheme(begin))
}

fn cleaned(text: &CowStr<'_>) -> CowStr<'static> {
    plain(text).into()
}

/// What of Markdown is understood. Nothing that refers to other places of the text: such a place can be referred to again and
/// again.
fn parser(text: &str) -> Parser<'_> {
    Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS)
}

/// The pieces of a text, each made harmless; what was begun is ended, however little of it there is.
fn pieces(text: &str) -> Vec<Event<'static>> {
    let text = plain(text);
    let mut found: Vec<Event<'static>> = Vec::new();
    // What is open: whether it is shown, and as what it ends.
    let mut open: Vec<Option<TagEnd>> = Vec::new();
    for piece in parser(&text) {
        if found.len() >= MOST_PIECES {
            found.extend(open.into_iter().rev().flatten().map(Event::End));
            let note = Tag::Paragraph;
            found.extend([Event::Start(note), Event::Text(BROKEN_OFF.into()), Event::End(TagEnd::Paragraph)]);
            return found;
        }
        match piece {
            Event::Start(tag) => {
                let tag = if open.len() < DEEPEST { harmless(tag) } else { None };
                open.push(tag.as_ref().map(Tag::to_end));
                found.extend(tag.map(Event::Start));
            }
            Event::End(_) => found.extend(open.pop().flatten().map(Event::End)),
            // Markup of its own is shown as it stands.
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => {
                found.push(Event::Text(cleaned(&text)));
            }
            Event::Code(text) => found.push(Event::Code(cleaned(&text))),
            Event::SoftBreak => found.push(Event::SoftBreak),
            Event::HardBreak => found.push(Event::HardBreak),
            Event::Rule => found.push(Event::Rule),
            Event::TaskListMarker(is_done) => found.push(Event::TaskListMarker(is_done)),
            Event::InlineMath(_) | Event::DisplayMath(_) | Event::FootnoteReference(_) => {}
        }
    }
    found
}

/// What a piece begins as; nothing where only what is inside is shown.
fn harmless(tag: Tag<'_>) -> Option<Tag<'static>> {
    Some(match tag {
        Tag::Link { link_type, dest_url, title, id: _ } if is_safe(&dest_url) => Tag::Link {
            link_type,
            dest_url: cleaned(&dest_url),
            title: cleaned(&title),
            id: CowStr::Borrowed(""),
        },
        // A picture from elsewhere would tell whoever has it that somebody looks.
        Tag::Link { .. } | Tag::Image { .. } => return None,
        Tag::HtmlBlock => Tag::Paragraph,
        Tag::Heading { level, .. } => {
            Tag::Heading { level, id: None, classes: Vec::new(), attrs: Vec::new() }
        }
        // No word behind the fence: it would become a class of the page.
        Tag::CodeBlock(_) => Tag::CodeBlock(pulldown_cmark::CodeBlockKind::Indented),
        Tag::Paragraph => Tag::Paragraph,
        Tag::BlockQuote(_) => Tag::BlockQuote(None),
        Tag::List(from) => Tag::List(from),
        Tag::Item => Tag::Item,
        Tag::Table(sides) => Tag::Table(sides),
        Tag::TableHead => Tag::TableHead,
        Tag::TableRow => Tag::TableRow,
        Tag::TableCell => Tag::TableCell,
        Tag::Emphasis => Tag::Emphasis,
        Tag::Strong => Tag::Strong,
        Tag::Strikethrough => Tag::Strikethrough,
        _ => return None,
    })
}

/// A page of text as it grows.
#[derive(Default)]
struct Page {
    text: String,
    /// What each line begins with, one for each quotation and item that is open.
    margins: Vec<&'static str>,
    /// The numbers of the lists that are open; nothing for those without.
    lists: Vec<Option<u64>>,
    /// The address of each link that is open.
    links: Vec<String>,
    is_code: bool,
}

impl Page {
    fn put(&mut self, piece: Event<'_>) {
        match piece {
            Event::Start(tag) => self.begin(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) if self.is_code => {
                for line in text.lines() {
                    self.line();
                    self.text.push_str("    ");
                    self.text.push_str(line);
                }
            }
            Event::Text(text) => self.text.push_str(&text),
            Event::Code(text) => self.text.extend(["`", &*text, "`"]),
            Event::SoftBreak | Event::HardBreak => self.line(),
            Event::Rule => {
                self.line();
                self.text.push_str("----");
                self.line();
            }
            Event::TaskListMarker(is_done) => self.text.push_str(if is_done { "[x] " } else { "[ ] " }),
            _ => {}
        }
    }

    fn begin(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Heading { level, .. } => {
                self.gap();
                let depth = match level {
                    HeadingLevel::H1 => "# ",
                    HeadingLevel::H2 => "## ",
                    _ => "### ",
                };
                self.text.push_str(depth);
            }
            Tag::Paragraph | Tag::Table(_) => self.gap(),
            Tag::TableRow => self.line(),
            Tag::CodeBlock(_) => self.is_code = true,
            Tag::BlockQuote(_) => self.margins.push("> "),
            Tag::List(from) => {
                if self.lists.is_empty() {
                    self.gap();
                }
                self.lists.push(from);
            }
            Tag::Item => {
                self.line();
                match self.lists.last_mut() {
                    Some(Some(number)) => {
                        self.text.push_str(&format!("{number}. "));
                        *number = number.saturating_add(1);
                    }
                    _ => self.text.push_str("- "),
                }
                self.margins.push("  ");
            }
            Tag::Link { dest_url, .. } => self.links.push(dest_url.into_string()),
            Tag::Strong => self.text.push_str("**"),
            Tag::Emphasis => self.text.push('*'),
            Tag::Strikethrough => self.text.push_str("~~"),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Item | TagEnd::BlockQuote(_) => drop(self.margins.pop()),
            TagEnd::List(_) => drop(self.lists.pop()),
            TagEnd::CodeBlock => {
                self.is_code = false;
                self.line();
            }
            TagEnd::TableCell => self.text.push_str(" | "),
            TagEnd::Link => {
                let address = self.links.pop().unwrap_or_default();
                if !self.text.ends_with(&address) {
                    self.text.push_str(&format!(" <{address}>"));
                }
            }
            TagEnd::Strong => self.text.push_str("**"),
            TagEnd::Emphasis => self.text.push('*'),
            TagEnd::Strikethrough => self.text.push_str("~~"),
            _ => {}
        }
    }

    /// A new line, unless one has just begun.
    fn line(&mut self) {
        let is_begun = self.text.is_empty() || self.text.ends_with('\n') || self.ends_with_margin();
        if !is_begun {
            self.text.push('\n');
            self.margins.iter().for_each(|margin| self.text.push_str(margin));
        }
    }

    /// An empty line between what stands for itself; none behind the sign of an item.
    fn gap(&mut self) {
        if self.text.is_empty() || self.ends_with_margin() {
            return;
        }
        self.line();
        if !self.ends_with_gap() {
            self.text.push('\n');
            self.margins.iter().for_each(|margin| self.text.push_str(margin));
        }
    }

    fn ends_with_margin(&self) -> bool {
        let last = self.text.rsplit('\n').next().unwrap_or_default();
        !last.is_empty() && last.chars().all(|letter| letter == ' ' || letter == '>')
            || last.trim_start_matches([' ', '>']) == "- "
            || last.trim_start().trim_end_matches(' ').strip_suffix('.').is_some_and(is_number)
    }

    fn ends_with_gap(&self) -> bool {
        self.text.ends_with("\n\n")
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests;
