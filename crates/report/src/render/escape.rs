//! Text that must stay text: in HTML and SVG, and in Markdown.

/// Escapes for HTML and SVG, for text and for quoted attributes; control characters that XML forbids are dropped.
pub(crate) fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' => out.push(c),
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => {}
            c => out.push(c),
        }
    }
    out
}

/// Escapes for one line of Markdown, also inside a table's cell.
pub(crate) fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '|' | '*' | '[' | ']' | '\\' | '`' => out.extend(['\\', c]),
            '\r' | '\n' | '\t' => out.push(' '),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_opens_a_tag_or_a_quote_is_escaped() {
        assert_eq!(xml("<a b=\"c\">&'\u{0}"), "&lt;a b=&quot;c&quot;&gt;&amp;&#39;");
        assert_eq!(markdown("a|b\n<i>*[x]"), "a\\|b &lt;i>\\*\\[x\\]");
    }

    proptest! {
        #[test]
        fn escaped_text_never_opens_anything(text in any::<String>()) {
            let escaped = xml(&text);
            prop_assert!(!escaped.contains(['<', '>', '"', '\'']));
            prop_assert!(!markdown(&text).contains(['\n', '<']));
        }
    }
}
