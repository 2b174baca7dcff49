//! Spoils what two parsers could read in two ways, before hyper sees it. Pure.
//!
//! hyper takes a bare line feed for a line's end, and of two ways to say how long a body is it follows one and hides the
//! other. Whatever stands before or behind us may decide otherwise, and then one of us sees a request where the other
//! sees a body. So the bytes of each head are looked at as they come, and the first that is wrong becomes a NUL, which
//! no head may hold: hyper answers 400 and ends the connection.

/// What an HTTP/2 client says first; all that follows is frames.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// Longest text of a line that matters here: `transfer-encoding`.
const KEPT: usize = 18;

/// Where in the stream the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before a request line.
    Start,
    /// Within it.
    RequestLine,
    /// Before a header line, or the empty one.
    LineStart,
    /// In a header's name.
    Name,
    /// In its value.
    Value,
    /// So many bytes of a body are to come.
    Body(u64),
    /// Nothing is a head any more: frames, a tunnel, or a body that ends with the connection.
    Free,
}

/// Follows the heads of one connection.
pub(super) struct Heads {
    at: At,
    /// Whether the last byte was a carriage return.
    after_return: bool,
    /// The begin of the line.
    line: [u8; KEPT],
    /// Bytes of the line so far.
    line_length: usize,
    is_connect: bool,
    length: Option<u64>,
    /// Whether the value that is read is a length.
    is_length: bool,
    has_encoding: bool,
}

impl Heads {
    /// At the begin of a connection.
    pub(super) fn new() -> Self {
        Self {
            at: At::Start,
            after_return: false,
            line: [0; KEPT],
            line_length: 0,
            is_connect: false,
            length: None,
            is_length: false,
            has_encoding: false,
        }
    }

    /// Looks at the next bytes, and makes the first wrong one a NUL.
    pub(super) fn look(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let taken = match self.at {
                At::Free => return,
                At::Body(left) => {
                    let here = left.min(bytes.len() as u64);
                    self.at = match left - here {
                        0 => At::Start,
                        rest => At::Body(rest),
                    };
                    usize::try_from(here).expect("no more than there are bytes")
                }
                _ => {
                    if !self.fits(bytes[0]) {
                        bytes[0] = 0;
                        // hyper ends the connection here: what follows is nobody's.
                        self.at = At::Free;
                        return;
                    }
                    1
                }
            };
            bytes = &mut bytes[taken..];
        }
    }

    /// Takes one byte of a head; false if it may not stand here.
    fn fits(&mut self, byte: u8) -> bool {
        if self.after_return || byte == b'\n' {
            let is_end = self.after_return && byte == b'\n';
            self.after_return = false;
            return is_end && self.end_line();
        }
        if byte == b'\r' {
            self.after_return = true;
            return true;
        }
        match self.at {
            At::Start | At::RequestLine => {
                self.at = At::RequestLine;
                self.keep(byte);
                // A fragment is cut off by some and sent on by others.
                matches!(byte, b' '..=b'~') && byte != b'#'
            }
            At::LineStart => {
                self.at = At::Name;
                self.keep(byte);
                // A blank would fold this line into the one before.
                !matches!(byte, b' ' | b'\t' | b':')
            }
            At::Name if byte == b':' => {
                self.at = At::Value;
                self.end_name()
            }
            At::Name => {
                self.keep(byte);
                true
            }
            At::Value => !self.is_length || self.length_digit(byte),
            At::Body(_) | At::Free => true,
        }
    }

    fn keep(&mut self, byte: u8) {
        if let Some(place) = self.line.get_mut(self.line_length) {
            *place = byte;
        }
        self.line_length += 1;
    }

    fn kept(&self) -> &[u8] {
        &self.line[..self.line_length.min(KEPT)]
    }

    fn end_name(&mut self) -> bool {
        let is_length = self.kept().eq_ignore_ascii_case(b"content-length");
        let is_encoding = self.kept().eq_ignore_ascii_case(b"transfer-encoding");
        self.is_length = is_length;
        if self.is_length && self.length.replace(0).is_some() {
            return false;
        }
        self.has_encoding |= is_encoding;
        // Restarts the count for the digits of a length.
        self.line_length = 0;
        !(self.has_encoding && self.length.is_some())
    }

    fn length_digit(&mut self, byte: u8) -> bool {
        match byte {
            // A blank before the digits, none within or behind them.
            b' ' | b'\t' => self.line_length == 0,
            b'0'..=b'9' => {
                self.line_length += 1;
                let before = self.length.unwrap_or_default();
                let now = before.checked_mul(10);
                self.length = now.and_then(|now| now.checked_add(u64::from(byte - b'0')));
                self.length.is_some()
            }
            _ => false,
        }
    }

    fn end_line(&mut self) -> bool {
        let is_good = match self.at {
            // Empty lines before a request are passed over, as RFC 9112, 2.2 wants.
            At::Start => true,
            At::RequestLine => {
                let is_preface = self.line_length == PREFACE.len() && self.kept() == PREFACE;
                self.is_connect = self.kept().starts_with(b"CONNECT ");
                self.at = if is_preface { At::Free } else { At::LineStart };
                true
            }
            At::LineStart => {
                self.end_head();
                true
            }
            // No colon.
            At::Name => false,
            At::Value => {
                self.at = At::LineStart;
                !self.is_length || self.line_length > 0
            }
            At::Body(_) | At::Free => true,
        };
        self.line_length = 0;
        self.is_length = false;
        is_good
    }

    fn end_head(&mut self) {
        let is_last = self.is_connect || self.has_encoding;
        self.at = match self.length {
            _ if is_last => At::Free,
            Some(length) if length > 0 => At::Body(length),
            _ => At::Start,
        };
        self.length = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where the first NUL is put, all bytes at once and one by one.
    fn spoilt(text: &str) -> Option<usize> {
        let mut at_once = text.as_bytes().to_vec();
        Heads::new().look(&mut at_once);
        let (mut heads, mut one_by_one) = (Heads::new(), text.as_bytes().to_vec());
        one_by_one.chunks_mut(1).for_each(|byte| heads.look(byte));
        assert_eq!(at_once, one_by_one, "{text:?}");
        at_once.iter().position(|byte| *byte == 0)
    }

    #[test]
    fn what_clients_send_passes() {
        for text in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\nA: b\tc\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n\nx\ryGET / HTTP/1.1\r\n\r\n",
            "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n0\r\n\r\n",
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n\u{1}\u{2}\n\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\u{1}\n\n",
        ] {
            assert_eq!(spoilt(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_does_not() {
        let line = "GET / HTTP/1.1\r\n";
        for (text, what) in [
            ("GET / HTTP/1.1\nHost: a\r\n\r\n".to_owned(), "\nHost"),
            (format!("{line}Host: a\nX: b\r\n\r\n"), "\nX"),
            (format!("{line}Host: a\r\n\n"), "\n"),
            (format!("{line}Host: a\rX: b\r\n\r\n"), "X: b"),
            (format!("{line}X: a\r\n folded\r\n\r\n"), " folded"),
            (format!("{line}X: a\r\n\tfolded\r\n\r\n"), "\tfolded"),
            (format!("{line}Nothing\r\n\r\n"), "\n\r\n"),
            (format!("{line}: a\r\n\r\n"), ": a"),
            (
                format!("{line}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"),
                ": chunked",
            ),
            (
                format!("{line}transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n"),
                ": 4",
            ),
            (
                format!("{line}Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd"),
                ": 4\r\n\r\nabcd",
            ),
            (format!("{line}Content-Length: 4, 4\r\n\r\nabcd"), ", 4"),
            (format!("{line}Content-Length: +4\r\n\r\nabcd"), "+4"),
            (format!("{line}Content-Length:\r\n\r\n"), "\n\r\n"),
            (
                format!("{line}Content-Length: 99999999999999999999\r\n\r\n"),
                "9\r\n\r\n",
            ),
            ("GET /a#b HTTP/1.1\r\n\r\n".to_owned(), "#b"),
            ("GET /\u{e9} HTTP/1.1\r\n\r\n".to_owned(), "\u{e9}"),
            // No preface, although it looks like one.
            ("PRI / HTTP/1.1\r\nA: b\nC: d\r\n\r\n".to_owned(), "\nC"),
            // The second request of a connection, behind a body.
            (
                format!("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n\n\n{line}A: b\nC: d\r\n"),
                "\nC",
            ),
        ] {
            let wanted = text.rfind(what);
            assert!(wanted.is_some(), "{text:?}");
            assert_eq!(spoilt(&text), wanted, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_way_the_bytes_are_cut_changes_nothing(text in "(GET|CONNECT|PRI) [a-z*# ]{0,4} HTTP/[12].[01][\r\n:A -]{0,24}(content-length: [0-9]{0,3}\r\n){0,2}[\r\na]{0,9}") {
            let _ = spoilt(&text);
        }
    }
}
