//! Owns how pages are put together: what is written here stands as it is, and everything else is escaped. There is no third way.

use bytes::Bytes;

/// A page, or a piece of one.
#[derive(Default)]
pub(super) struct Html(String);

impl Html {
    /// Markup of ours.
    pub(super) fn raw(mut self, markup: &'static str) -> Self {
        self.0.push_str(markup);
        self
    }

    /// Text of anybody's, also within an attribute in double quotes.
    pub(super) fn text(mut self, text: &str) -> Self {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c => self.0.push(c),
            }
        }
        self
    }

    /// Another piece.
    pub(super) fn piece(mut self, piece: &Self) -> Self {
        self.0.push_str(&piece.0);
        self
    }

    /// A field that nobody sees.
    pub(super) fn hidden(self, name: &'static str, value: &str) -> Self {
        self.raw("<input type=\"hidden\" name=\"").raw(name).raw("\" value=\"").text(value).raw("\">")
    }
}

impl From<Html> for Bytes {
    fn from(html: Html) -> Self {
        html.0.into()
    }
}

/// Times as people read them, `2026-01-02 12:00 UTC`.
pub(super) fn moment(html: Html, millis: i64) -> Html {
    let at = jiff::Timestamp::from_millisecond(millis).unwrap_or_default();
    let text = at.strftime("%F %R").to_string();
    html.raw("<time datetime=\"").text(&text).raw("Z\">").text(&text).raw(" UTC</time>")
}

/// A whole page.
pub(super) fn page(title: &'static str, body: &Html) -> Html {
    Html::default()
        .raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
        .raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n")
        .raw("<meta name=\"color-scheme\" content=\"light dark\">\n<title>")
        .text(title)
        .raw("</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n</head>\n<body>\n<main>\n<h1>")
        .text(title)
        .raw("</h1>\n")
        .piece(body)
        .raw("</main>\n</body>\n</html>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_ours_is_escaped() {
        let html = Html::default().raw("<p title=\"").text("\"><script>'&").raw("\">");
        assert_eq!(html.0, "<p title=\"&quot;&gt;&lt;script&gt;&#39;&amp;\">");
    }
}
