//! Markdown by whoever means ill: nothing of it acts, and nothing of it grows.

use proptest::prelude::*;

use super::*;

const STORY: &str = "# Switch *production*\n\nThe **new** one is at <https://web.example/x>, see [its page](https://web.example).\n\n\
    1. one\n2. two\n   - inner\n\n> said\n\n```sh\nrm -rf /srv\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n";

#[test]
fn what_is_meant_well_is_shown() {
    let html = html(STORY);
    for part in [
        "<h1>Switch <em>production</em></h1>",
        "<a href=\"https://web.example\">its page</a>",
        "<ol>",
        "<blockquote>",
        "<td>2</td>",
        "rm -rf /srv",
    ] {
        assert!(html.contains(part), "{part}:\n{html}");
    }
    let text = terminal(STORY);
    for part in [
        "# Switch *production*\n",
        "its page <https://web.example>",
        "1. one\n",
        "- inner",
        "> said",
        "    rm -rf /srv",
        "1 | 2 |",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
}

#[test]
fn markup_and_addresses_that_act_do_not() {
    for hostile in [
        "<script>alert(1)</script>",
        "a <img src=x onerror=alert(1)> b",
        "<div onclick=\"alert(1)\">\n\nx\n\n</div>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](java\u{0}script:alert(1))",
        "[x](&#106;avascript:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "[x](vbscript:msgbox)",
        "[x](file:///etc/passwd)",
        "[x](//evil.example/x)",
        "[x](/relative)",
        "<javascript:alert(1)>",
        "![x](https://evil.example/pixel.png)",
        "![x](javascript:alert(1))",
        "[x]: javascript:alert(1)\n\n[x]",
        "```html onload=alert(1)\"><script>\nx\n```",
        "<style>*{display:none}</style>",
        "<!-- --><iframe src=x></iframe>",
        "[x](https://web.example \"\\\"onmouseover=alert(1)\")",
        "# x {onclick=alert(1)}",
    ] {
        let html = html(hostile);
        let lower = html.to_lowercase();
        for sign in [
            "<script",
            "<img",
            "<div",
            "<style",
            "<iframe",
            "<!--",
            "href=\"javascript",
            "href=\"data",
            "href=\"/",
            "href=\"vb",
            "href=\"file",
            "href=\"\"",
            "class=",
        ] {
            assert!(!lower.contains(sign), "{hostile}: {html}");
        }
        // Outside of quotes and text nothing acts: attributes are ours alone.
        for tag in lower.split('<').skip(1).filter_map(|rest| rest.split('>').next()) {
            let own = ["href=\"", "title=\"", "start=\"", "style=\"text-align"];
            let attributes = tag.matches("=\"").count();
            let known: usize = own.iter().map(|own| tag.matches(own).count()).sum();
            assert_eq!(attributes, known, "{hostile}: <{tag}>");
        }
        assert!(!terminal(hostile).contains("<javascript"), "{hostile}");
    }
}

#[test]
fn nothing_moves_a_terminal() {
    let hostile = "a\u{1b}[2J\u{1b}]0;title\u{7}b\u{9b}31m\rc\u{8}\u{202e}d\u{2066}e\u{200b}f\u{feff}\u{e0041}\n\n`\u{1b}[31m`\n";
    for shown in [terminal(hostile), html(hostile)] {
        assert!(!shown.chars().any(|letter| letter != '\n' && is_sly(letter)), "{shown:?}");
        assert!(shown.contains("[2J"), "the rest stays: {shown:?}");
    }
    assert_eq!(line("a\nb\u{1b}c"), "a bc");
}

#[test]
fn little_text_does_not_become_much() {
    let wide = format!("|{}\n|{}\n{}", "a|".repeat(8000), "-|".repeat(8000), "|x\n".repeat(8000));
    let deep = format!("{}x", "> ".repeat(30_000));
    let nested: String = (0..2000).map(|depth| format!("{}- x\n", "  ".repeat(depth.min(30)))).collect();
    let brackets = "[".repeat(60_000);
    let stars = "*a **a ".repeat(10_000);
    let referred = format!("[a]: https://web.example/{}\n\n{}", "x".repeat(20_000), "[a] ".repeat(10_000));
    for (name, text) in [
        ("table", wide),
        ("quotation", deep),
        ("list", nested),
        ("brackets", brackets),
        ("stars", stars),
        ("references", referred),
    ] {
        let (html, terminal) = (html(&text), terminal(&text));
        for shown in [&html, &terminal] {
            assert!(shown.len() <= 4 << 20, "{name}: {} become {}", text.len(), shown.len());
        }
        assert!(html.matches("<blockquote>").count() <= DEEPEST, "{name}");
    }
}

proptest! {
    /// Whatever is written, tags are ours and balanced, and no control character is left.
    #[test]
    fn any_text_is_harmless(text in "[a-z<>\\[\\]()!*_`~|#&;:/\"'= \n\u{1b}\u{202e}-]{0,300}") {
        let html = html(&text);
        for tag in html.split('<').skip(1) {
            let name: String = tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
            prop_assert!(
                ["p", "h1", "h2", "h3", "h4", "h5", "h6", "em", "strong", "del", "code", "pre", "ul", "ol", "li", "a", "br", "hr",
                 "blockquote", "table", "thead", "tbody", "tr", "th", "td", "input"].contains(&name.as_str()),
                "<{name}: {html}"
            );
        }
        for tag in ["p", "em", "strong", "blockquote", "ul", "ol", "li", "a", "pre"] {
            let begun = html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
            prop_assert_eq!(begun, html.matches(&format!("</{tag}>")).count(), "{}: {}", tag, &html);
        }
        let shown = terminal(&text);
        prop_assert!(!shown.chars().any(|letter| letter != '\n' && is_sly(letter)));
    }
}
