//! The terminal: one frame in the place of the other, and as it was before once this ends. Where standard output is no
//! terminal, one frame after the other, as plain text.

use std::io::{IsTerminal, Write};

/// Hides the cursor.
const HIDE: &str = "\x1b[?25l";
/// Shows it.
const SHOW: &str = "\x1b[?25h";
/// To the upper left corner, on a page of its own: what stood there before comes back.
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";
const HOME: &str = "\x1b[H";
/// Clears all from here on.
const CLEAR: &str = "\x1b[J";
/// Where a terminal does not say how wide it is.
const COLUMNS: usize = 100;

/// Where frames go.
#[derive(Debug)]
pub(crate) struct Screen {
    is_terminal: bool,
    has_shown: bool,
}

/// The page of a terminal that a [`Screen`] has opened, to be left for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    is_terminal: bool,
}

// === impl Screen ===

impl Screen {
    /// The terminal, if there is one. With `is_plain` nothing is ever put in the place of anything.
    pub(crate) fn open(is_plain: bool) -> Self {
        let is_terminal = !is_plain && std::io::stdout().is_terminal();
        let screen = Self { is_terminal, has_shown: false };
        screen.page().enter();
        screen
    }

    pub(crate) const fn page(&self) -> Page {
        Page { is_terminal: self.is_terminal }
    }

    /// How wide and how high it is; what is no terminal has no end.
    pub(crate) fn size(&self) -> (usize, usize) {
        if !self.is_terminal {
            return (usize::MAX, usize::MAX);
        }
        let told = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
        match told.filter(|size| size.ws_col > 0 && size.ws_row > 0) {
            Some(size) => (usize::from(size.ws_col), usize::from(size.ws_row)),
            None => (COLUMNS, usize::MAX),
        }
    }

    /// Shows a frame. Whether somebody still reads.
    pub(crate) fn show(&mut self, frame: &str) -> bool {
        let (_, rows) = self.size();
        let text = drawn(frame, (self.is_terminal, rows), self.has_shown);
        self.has_shown = true;
        write(&text)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.page().leave();
    }
}

// === impl Page ===

impl Page {
    /// Puts it in the place of what stands there.
    pub(crate) fn enter(self) {
        if self.is_terminal {
            write(&format!("{ENTER}{HIDE}"));
        }
    }

    /// Puts back what stood there before.
    pub(crate) fn leave(self) {
        if self.is_terminal {
            write(&format!("{SHOW}{LEAVE}"));
        }
    }
}

/// A frame as it is written: for a terminal of so many rows, or as text.
fn drawn(frame: &str, (is_terminal, rows): (bool, usize), is_next: bool) -> String {
    if !is_terminal {
        return format!("{}{frame}\n", if is_next { "\n" } else { "" });
    }
    // Each line's place is cleared before it is written: after a line as wide as the terminal the cursor stands on its
    // last character, which would go too.
    let lines: Vec<_> = frame.lines().take(rows).map(|line| format!("{CLEAR}{line}")).collect();
    format!("{HOME}{}", lines.join("\r\n"))
}

fn write(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_one_frame_in_the_place_of_the_other() {
        let drawn = drawn("one\ntwo\nthree", (true, 2), true);
        assert_eq!(drawn, "\x1b[H\x1b[Jone\r\n\x1b[Jtwo");
    }

    #[test]
    fn what_is_no_terminal_gets_them_one_after_the_other_without_an_escape() {
        assert_eq!(drawn("one", (false, usize::MAX), false), "one\n");
        assert_eq!(drawn("two", (false, usize::MAX), true), "\ntwo\n");
    }
}
