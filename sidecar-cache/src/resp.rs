//! What a Redis may send, before anybody parses it: the frame of every reply, followed byte by byte, with a bound
//! on each length that it announces. A server that is none, or means harm, is hung up on before it has made
//! anybody reserve memory. Pure: it sees bytes and remembers a few numbers.

/// How deep replies nest. Ours, and `CLUSTER SLOTS`, stay below five.
const DEPTH_MAX: usize = 8;
/// How long a line is: errors and statuses.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// How many values one reply has, those within others counted.
const VALUES_MAX: u64 = 64 << 10;

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hostile {
    /// No reply begins like this.
    #[error("it sent what is no reply")]
    Garbage,
    /// A length that is none.
    #[error("it sent a malformed length")]
    Length,
    /// More bytes than a reply may have.
    #[error("it announced or sent more than a reply may have")]
    TooLarge,
    /// More values than a reply may have.
    #[error("it announced more values than a reply may have")]
    TooMany,
    /// Replies within replies.
    #[error("it nests deeper than a reply may")]
    TooDeep,
}

/// Follows what one server sends.
#[derive(Debug)]
pub struct Frames {
    reply_bytes_max: u64,
    state: State,
    /// How many values each open aggregate still lacks.
    open: Vec<u64>,
    /// Of the reply that is coming.
    bytes: u64,
    values: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The next byte says what comes.
    Kind,
    /// A line whose text is the value.
    Text { bytes: u64, has_return: bool },
    /// A line that is a length.
    Length { of: Of, text: [u8; 20], count: usize, has_return: bool },
    /// So many bytes are still to come, the line end included.
    Bulk { left: u64 },
}

/// What a length is the length of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Bulk,
    Values,
    Pairs,
    /// Pairs, and the value that they belong to.
    Attributes,
}

// === impl Frames ===

impl Frames {
    /// Nothing has come yet; no reply may have more than so many bytes.
    #[must_use]
    pub const fn new(reply_bytes_max: u64) -> Self {
        Self { reply_bytes_max, state: State::Kind, open: Vec::new(), bytes: 0, values: 0 }
    }

    /// What comes next.
    ///
    /// # Errors
    /// [`Hostile`] where it must not be parsed. The connection is of no use any more.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Hostile> {
        while let Some((first, rest)) = bytes.split_first() {
            if let State::Bulk { left } = self.state {
                let taken = left.min(bytes.len() as u64);
                self.grow(taken)?;
                bytes = bytes.get(usize::try_from(taken).unwrap_or(bytes.len())..).unwrap_or(&[]);
                if taken == left {
                    self.is_whole();
                } else {
                    self.state = State::Bulk { left: left - taken };
                }
                continue;
            }
            self.grow(1)?;
            self.byte(*first)?;
            bytes = rest;
        }
        Ok(())
    }

    fn byte(&mut self, byte: u8) -> Result<(), Hostile> {
        match self.state {
            State::Kind => self.state = kind(byte)?,
            State::Text { bytes, has_return } => {
                if has_return && byte == b'\n' {
                    self.is_whole();
                } else if bytes >= LINE_BYTES_MAX {
                    return Err(Hostile::TooLarge);
                } else {
                    self.state = State::Text { bytes: bytes + 1, has_return: byte == b'\r' };
                }
            }
            State::Length { of, mut text, count, has_return } => {
                if has_return {
                    let digits = text.get(..count).unwrap_or_default();
                    return if byte == b'\n' {
                        self.announced(of, digits)
                    } else {
                        Err(Hostile::Length)
                    };
                }
                if byte == b'\r' {
                    self.state = State::Length { of, text, count, has_return: true };
                    return Ok(());
                }
                *text.get_mut(count).ok_or(Hostile::Length)? = byte;
                self.state = State::Length { of, text, count: count + 1, has_return: false };
            }
            // Taken as a whole by the caller.
            State::Bulk { .. } => {}
        }
        Ok(())
    }

    fn announced(&mut self, of: Of, digits: &[u8]) -> Result<(), Hostile> {
        if digits == b"-1" && matches!(of, Of::Bulk | Of::Values) {
            self.is_whole();
            return Ok(());
        }
        let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(digits).ok().filter(|_| is_number).ok_or(Hostile::Length)?;
        let length: u64 = text.parse().map_err(|_| Hostile::TooLarge)?;
        match of {
            Of::Bulk if length > self.reply_bytes_max => return Err(Hostile::TooLarge),
            Of::Bulk => {
                self.state = State::Bulk { left: length + 2 };
                return Ok(());
            }
            Of::Values | Of::Pairs | Of::Attributes => {}
        }
        let values = match of {
            Of::Bulk | Of::Values => length,
            Of::Pairs => length.saturating_mul(2),
            Of::Attributes => length.saturating_mul(2).saturating_add(1),
        };
        self.values = self.values.saturating_add(values);
        if self.values > VALUES_MAX {
            return Err(Hostile::TooMany);
        }
        if values == 0 {
            self.is_whole();
        } else if self.open.len() >= DEPTH_MAX {
            return Err(Hostile::TooDeep);
        } else {
            self.open.push(values);
            self.state = State::Kind;
        }
        Ok(())
    }

    const fn grow(&mut self, count: u64) -> Result<(), Hostile> {
        self.bytes = self.bytes.saturating_add(count);
        // A little more than the largest value, for what stands around it.
        if self.bytes > self.reply_bytes_max.saturating_add(LINE_BYTES_MAX) {
            return Err(Hostile::TooLarge);
        }
        Ok(())
    }

    /// A value is there, and with it perhaps those that it was the last of.
    fn is_whole(&mut self) {
        self.state = State::Kind;
        while let Some(lacks) = self.open.last_mut() {
            *lacks -= 1;
            if *lacks > 0 {
                return;
            }
            self.open.pop();
        }
        (self.bytes, self.values) = (0, 0);
    }
}

fn kind(byte: u8) -> Result<State, Hostile> {
    let length = |of| State::Length { of, text: [0; 20], count: 0, has_return: false };
    match byte {
        b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => {
            Ok(State::Text { bytes: 0, has_return: false })
        }
        b'$' | b'!' | b'=' => Ok(length(Of::Bulk)),
        b'*' | b'~' | b'>' => Ok(length(Of::Values)),
        b'%' => Ok(length(Of::Pairs)),
        b'|' => Ok(length(Of::Attributes)),
        _ => Err(Hostile::Garbage),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: u64 = 1_000;

    fn whole(bytes: &[u8]) -> Result<(), Hostile> {
        Frames::new(MAX).feed(bytes)
    }

    #[test]
    fn what_a_redis_sends_passes_whole_and_byte_by_byte() {
        let replies: [&[u8]; 14] = [
            b"+OK\r\n",
            b"-ERR a\rb\r\n",
            b":-12\r\n",
            b"_\r\n",
            b",1.5\r\n",
            b"#t\r\n",
            b"$3\r\n\r\n$\r\n",
            b"$0\r\n\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"*0\r\n",
            b"*2\r\n*1\r\n$1\r\na\r\n%1\r\n+k\r\n~0\r\n",
            b">3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$1\r\n1\r\n",
            b"|1\r\n+ttl\r\n:1\r\n$1\r\na\r\n",
        ];
        for reply in replies {
            let text = String::from_utf8_lossy(reply);
            let mut frames = Frames::new(MAX);
            for _ in 0..3 {
                assert_eq!(frames.feed(reply), Ok(()), "{text:?}");
                for byte in reply {
                    assert_eq!(frames.feed(&[*byte]), Ok(()), "{text:?}");
                }
                assert!(frames.open.is_empty() && frames.bytes == 0, "{text:?}");
            }
        }
    }

    #[test]
    fn what_no_reply_begins_with_is_garbage() {
        for bytes in ["HTTP/1.1 400 Bad Request\r\n", "\r\n", "\0", "+OK\r\nx"] {
            assert_eq!(whole(bytes.as_bytes()), Err(Hostile::Garbage), "{bytes:?}");
        }
    }

    #[test]
    fn a_length_is_a_number_and_within_its_bound() {
        for (bytes, expected) in [
            ("$1000\r\n", Ok(())),
            ("$1001\r\n", Err(Hostile::TooLarge)),
            ("$9223372036854775807\r\n", Err(Hostile::TooLarge)),
            ("$99999999999999999999\r\n", Err(Hostile::TooLarge)),
            ("$999999999999999999999\r\n", Err(Hostile::Length)),
            ("$-2\r\n", Err(Hostile::Length)),
            ("%-1\r\n", Err(Hostile::Length)),
            ("$+1\r\n", Err(Hostile::Length)),
            ("$\r\n", Err(Hostile::Length)),
            ("$?\r\n", Err(Hostile::Length)),
            ("$1\rx", Err(Hostile::Length)),
            ("*65536\r\n", Ok(())),
            ("*65537\r\n", Err(Hostile::TooMany)),
            ("%32769\r\n", Err(Hostile::TooMany)),
            ("|18446744073709551615\r\n", Err(Hostile::TooMany)),
            ("*2\r\n*65535\r\n", Err(Hostile::TooMany)),
        ] {
            assert_eq!(whole(bytes.as_bytes()), expected, "{bytes:?}");
        }
    }

    #[test]
    fn replies_nest_only_so_deep() {
        assert_eq!(whole("*1\r\n".repeat(DEPTH_MAX).as_bytes()), Ok(()));
        assert_eq!(whole("*1\r\n".repeat(DEPTH_MAX + 1).as_bytes()), Err(Hostile::TooDeep));
    }

    #[test]
    fn a_reply_of_many_parts_has_the_bound_of_one() {
        let part = [b"$1000\r\n".as_slice(), &[b'a'; 1_000], b"\r\n"].concat();
        let mut frames = Frames::new(MAX);
        frames.feed(b"*1000\r\n").unwrap();
        let refused = (0..1_000).find_map(|_| frames.feed(&part).err());
        assert_eq!(refused, Some(Hostile::TooLarge));
        let mut frames = Frames::new(MAX);
        (0..1_000).for_each(|_| frames.feed(&part).unwrap());
    }

    #[test]
    fn a_line_without_an_end_is_too_large() {
        let mut frames = Frames::new(u64::MAX - LINE_BYTES_MAX);
        frames.feed(b"-").unwrap();
        let refused = (0..=LINE_BYTES_MAX).find_map(|_| frames.feed(b"x").err());
        assert_eq!(refused, Some(Hostile::TooLarge));
    }

    proptest! {
        #[test]
        fn it_says_the_same_however_the_bytes_are_cut(
            bytes in proptest::collection::vec(
                proptest::sample::select(b"$*%|>+-:~019a\r\n".to_vec()), 0..64,
            ),
            cut in 0_usize..64,
        ) {
            let (before, after) = bytes.split_at(cut.min(bytes.len()));
            let mut frames = Frames::new(MAX);
            let cut = frames.feed(before).and_then(|()| frames.feed(after));
            prop_assert_eq!(cut, whole(&bytes));
        }
    }
}
