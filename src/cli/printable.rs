//! Text of files on a terminal: it may neither steer it, nor look like a line of ours, nor fill it.

/// What is shown of one line.
const LINE: usize = 900;
/// What is shown of an error in all.
const ALL: usize = 4000;

/// A text on one line: control characters are spelled out, and what is too long is cut.
pub fn one_line(text: &str) -> String {
    let mut out = String::new();
    for (at, c) in text.char_indices() {
        if out.len() > LINE {
            out.push_str(&format!("... ({} bytes more)", text.len() - at));
            break;
        }
        // Marks that turn the direction of writing reorder what stands beside them, others can't be seen.
        let mark = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if c.is_control() || mark {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// A message whose further lines are indented, so that none looks like another message.
pub fn message(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        if !out.is_empty() {
            out.push_str("\n  ");
        }
        if out.len() > ALL {
            out.push_str("...");
            break;
        }
        out.push_str(&one_line(line));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_neither_steer_nor_fill_a_terminal() {
        assert_eq!(one_line("é\x1b[31m\ta\u{202e}\nb\u{200b}"), "é\\u{1b}[31m\\ta\\u{202e}\\nb\\u{200b}");
        let cut = one_line(&"é".repeat(1 << 20));
        assert!(cut.len() < LINE + 50 && cut.ends_with(" bytes more)"), "{cut}");
        assert!(one_line(&"\x1b".repeat(1 << 20)).len() < LINE + 50);
        assert_eq!(message("a\nerror: b\r\n\nc"), "a\n  error: b\n  \n  c");
        assert!(message(&"x\n".repeat(1 << 20)).len() < ALL + 50);
        assert_eq!(message(""), "");
    }
}
