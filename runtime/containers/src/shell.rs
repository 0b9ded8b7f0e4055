//! Owns how a word is written so that a POSIX shell reads exactly that word again.

/// Characters that mean nothing to a shell wherever they stand in a word.
const PLAIN: &[u8] = b"_-./:,@%+=";

/// `word` as a shell reads it back: in single quotes where it needs them, each line break inside them. A word has no NUL:
/// no program could be given one.
#[must_use]
pub fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || PLAIN.contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Words one after the other, each [`quoted`].
#[must_use]
pub fn joined<W: AsRef<str>>(words: &[W]) -> String {
    words.iter().map(|word| quoted(word.as_ref())).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a real shell makes of the words: each followed by a NUL.
    #[expect(clippy::disallowed_methods, reason = "the judge is the shell itself")]
    fn read_by_sh(text: &str) -> Vec<String> {
        let line = format!("printf '%s\\0' {text}");
        let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
        assert!(output.status.success(), "{line:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.strip_suffix('\0').unwrap().split('\0').map(str::to_owned).collect()
    }

    #[test]
    fn words_that_a_shell_would_act_on_come_through_it() {
        let hostile = [
            "",
            " ",
            "'",
            "''",
            "\"",
            "\\",
            "\\'",
            "$HOME",
            "$(touch x)",
            "`touch x`",
            "a;b",
            "a&&b",
            "a|b",
            ">x",
            "<x",
            "#x",
            "~",
            "~root",
            "*",
            "?",
            "[a]",
            "{a,b}",
            "!x",
            "-n",
            "--",
            "a\nb",
            "\n",
            "a\n",
            "a\tb",
            "\r",
            "A=1",
            "=",
            "é",
            "\u{1b}[31m",
            "\u{7f}",
            "\u{feff}",
            "()",
            "%s",
            "a'b'c",
            "'; exit 1; '",
        ];
        assert_eq!(read_by_sh(&joined(&hostile)), hostile);
    }

    #[test]
    fn plain_words_stay_as_they_are() {
        for plain in
            ["podman", "-p", "127.0.0.1:8080:80/tcp", "mcr.test/web:v1@sha256:ab", "LEVEL=info", "50%"]
        {
            assert_eq!(quoted(plain), plain);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_words_come_through_a_shell(
            words in proptest::collection::vec("[^\u{0}]{0,24}|[ '\"\\\\$`;&|<>(){}*?!#~\n\t=-]{0,12}", 1..8)
        ) {
            prop_assert_eq!(read_by_sh(&joined(&words)), words);
        }
    }
}
