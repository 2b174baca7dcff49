//! Rust text with the parts that are not code blanked out, line by line as it was.
//!
//! A full parser would cost a dependency and tell the rules no more: they look for words, paths and braces, and those
//! must not be found in comments, strings or tests.

/// One Rust file. [`code`](Self::code) and [`live`](Self::live) have the same lines as the file.
pub(crate) struct Source {
    lines: usize,
    code: String,
    live: String,
    test_modules: Vec<String>,
}

impl Source {
    pub(crate) fn read(text: &str) -> Self {
        let code = without_text(text);
        let (live, test_modules) = without_tests(&code);
        Self {
            lines: text.lines().count(),
            code,
            live,
            test_modules,
        }
    }

    pub(crate) fn lines(&self) -> usize {
        self.lines
    }

    /// The code: comments and the insides of strings and characters are spaces.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// The code that is in the product: items under `#[cfg(test)]` are spaces too.
    pub(crate) fn live(&self) -> &str {
        &self.live
    }

    /// Names of modules in other files that are declared under `#[cfg(test)]`.
    pub(crate) fn test_modules(&self) -> &[String] {
        &self.test_modules
    }

    /// Says that all of the file is for tests.
    pub(crate) fn blank(&mut self) {
        self.live = spaces(&self.live);
    }
}

/// The line, from 1, of the byte at `offset`.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// The offset just behind the brace that closes the one at `open`, or the end of the text.
pub(crate) fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

fn spaces(text: &str) -> String {
    let blank = |byte| if byte == b'\n' { '\n' } else { ' ' };
    text.bytes().map(blank).collect()
}

/// Blanks comments and the insides of strings, keeping every byte's place.
fn without_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut behind_word = false;
    while let Some(first) = rest.chars().next() {
        let skip = if behind_word {
            0
        } else {
            prefixed_string(rest)
        };
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => quoted(rest),
            '\'' => character(rest),
            _ => skip,
        };
        let (taken, left) = rest.split_at(length.max(first.len_utf8()));
        if length == 0 {
            out.push_str(if first.is_ascii() { taken } else { "" });
            out.extend((0..taken.len()).filter(|_| !first.is_ascii()).map(|_| ' '));
        } else {
            out.push_str(&spaces(taken));
        }
        behind_word = length == 0 && (first.is_alphanumeric() || first == '_');
        rest = left;
    }
    out
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// The length of the string at the start of `text`, which begins with its quote.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a string with a prefix (`r"`, `br#"`, `b"`, `c"`) at the start of `text`; 0 if there is none.
fn prefixed_string(text: &str) -> usize {
    let letters = text
        .bytes()
        .take_while(|b| matches!(b, b'r' | b'b' | b'c'))
        .count();
    let hashes = text[letters..].bytes().take_while(|b| *b == b'#').count();
    let start = letters + hashes;
    if letters == 0 || letters > 2 || !text[start..].starts_with('"') {
        return 0;
    }
    if !text[..letters].contains('r') {
        return start + quoted(&text[start..]);
    }
    let end = format!("\"{}", "#".repeat(hashes));
    text[start + 1..]
        .find(&end)
        .map_or(text.len(), |at| start + 1 + at + end.len())
}

/// The length of a character literal at the start of `text`; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut inside = text.char_indices().skip(1);
    match inside.next() {
        Some((_, '\\')) => text[3.min(text.len())..]
            .find('\'')
            .map_or(text.len(), |at| at + 4),
        Some((_, _)) => match inside.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

/// Blanks what stands under `#[cfg(test)]`, and names the modules of other files that do.
fn without_tests(code: &str) -> (String, Vec<String>) {
    const MARKS: [&str; 2] = ["#[cfg(test)]", "#[cfg(all(test"];
    let mut live = code.to_owned();
    let mut modules = Vec::new();
    let mut from = 0;
    while let Some(at) = MARKS.iter().filter_map(|m| code[from..].find(m)).min() {
        let start = from + at;
        let end = item_end(code, start);
        let item = &code[start..end];
        if item.ends_with(';')
            && let Some((_, name)) = item.rsplit_once("mod ")
        {
            modules.push(name.trim_end_matches(';').trim().to_owned());
        }
        live.replace_range(start..end, &spaces(item));
        from = end;
    }
    (live, modules)
}

/// Where the item that begins at `start` with an attribute ends: at its `;` or behind its braces, or at a `,` where it
/// is a field or a variant.
fn item_end(code: &str, start: usize) -> usize {
    let (mut depth, mut angles) = (0_usize, 0_usize);
    let mut before = b' ';
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' if depth > 0 => depth -= 1,
            b'<' => angles += 1,
            b'>' if !matches!(before, b'-' | b'=') => angles = angles.saturating_sub(1),
            b';' if depth == 0 => return at + 1,
            b',' if depth == 0 && angles == 0 => return at + 1,
            b'}' if depth == 0 => return at,
            b'{' if depth == 0 => {
                let end = closing(code, at);
                let import = code[start..at].trim_end().ends_with("::");
                return if import { end + 1 } else { end }.min(code.len());
            }
            _ => {}
        }
        before = byte;
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, code: &str) {
        let source = Source::read(text);
        assert_eq!(
            source.code().len(),
            text.len(),
            "every byte keeps its place"
        );
        let squeezed = |s: &str| s.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(source.live()), squeezed(code));
    }

    #[test]
    fn comments_and_strings_are_no_code() {
        check("a // b\nc /* d /* e */ f */ g", "a c g");
        check(r#"x("{ \" }", b"{", '{', '\'', '\u{7b}')"#, "x( , , , , )");
        check(
            r###"y(r#"a "quoted" {"#, r"\", br##"{"##) z"###,
            "y( , , ) z",
        );
        check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
        check(
            "let c = 'x'; let r#type = var\"s\";",
            "let c = ; let r#type = var ;",
        );
        check("let e = \"é\"; f('é')", "let e = ; f( )");
    }

    #[test]
    fn what_only_tests_see_is_not_live() {
        check("a; #[cfg(test)] mod t { b() } c", "a; c");
        check("a; #[cfg(test)]\nuse x::{y, z};\nc", "a; c");
        check("a; #[cfg(test)] impl X for [u8; 3] { b } c", "a; c");
        check("a; #[cfg(test)] fn f<A, B>(a: A) -> B { a } c", "a; c");
        check(
            "struct S { #[cfg(test)] a: [u8; 2], b: u8 }",
            "struct S { b: u8 }",
        );
    }

    #[test]
    fn modules_of_other_files_are_named() {
        let source = Source::read("#[cfg(test)]\npub(crate) mod peers;\n#[cfg(test)]\nmod t {}\n");
        assert_eq!(source.test_modules(), ["peers"]);
    }
}
