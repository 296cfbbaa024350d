//! Answers of providers, in every dialect. The first line says which (`openai_chat sse`), and with `limited` that
//! the client set the length limit; the rest is the answer.
//!
//! No answer makes the judge, the replay or the hider panic. No part of a complete answer is complete: a stream
//! cut before the event that ends it, or JSON cut anywhere, is refused. What a complete answer is replayed as
//! is complete again and used the same. The hider gives the same bytes for every split, and takes whole events
//! out of a stream and nothing else.

use kt_contract::wire::admit::ReplyShape;
use kt_providers::sse::{Data, Reader};
use kt_providers::{Complete, Dialect, Incomplete, Recorded, Terms};

use crate::choices::Choices;
use crate::text::{dialect, halves};

const SHAPES: [ReplyShape; 3] = [
    ReplyShape::Json,
    ReplyShape::Sse { include_usage: false },
    ReplyShape::Sse { include_usage: true },
];

/// How many splits of one answer are tried, beside the one at every byte.
const SPLITS: usize = 3;
/// How many of the cuts of one answer are tried.
const CUTS_MAX: usize = 64;

/// An answer, and what is known of it.
struct Answer<'a> {
    dialect: Dialect,
    recorded: Recorded,
    terms: Terms,
    body: &'a [u8],
}

/// Takes any bytes.
pub fn check(input: &[u8]) {
    let Some(answer) = Answer::read(input) else { return };
    let Answer { dialect, recorded, terms: _, body } = answer;
    let mut choices = Choices::of(input);
    let judged = answer.judge(body);
    let _ = dialect.delivered(recorded, body);
    if let Ok(complete) = &judged {
        answer.check_cuts(&mut choices);
        answer.check_replays(complete);
    } else {
        for want in SHAPES {
            let _ = dialect.replay(recorded, body, want);
        }
    }
    for shape in SHAPES {
        answer.check_hider(shape, &mut choices);
    }
}

// === impl Answer ===

impl<'a> Answer<'a> {
    fn read(input: &'a [u8]) -> Option<Self> {
        let (head, body) = halves(input, b'\n');
        let (name, rest) = halves(head, b' ');
        let (shape, limit) = halves(rest, b' ');
        let recorded = match shape {
            b"json" => Recorded::Json,
            b"sse" => Recorded::Sse,
            _ => return None,
        };
        let terms = Terms { client_limited: limit == b"limited", ..Terms::default() };
        Some(Self { dialect: dialect(name)?, recorded, terms, body })
    }

    fn judge(&self, body: &[u8]) -> Result<Complete, Incomplete> {
        self.dialect.judge(self.recorded, body, self.terms)
    }

    fn check_cuts(&self, choices: &mut Choices) {
        let (ends, whole) = match self.recorded {
            Recorded::Json => (Vec::new(), self.body.trim_ascii_end().len()),
            Recorded::Sse => self.events(),
        };
        let last = ends.iter().rev().take(CUTS_MAX / 4).copied();
        let some = (0..CUTS_MAX.min(whole)).map(|_| choices.below(whole));
        for cut in last.chain(some).filter(|cut| *cut < whole) {
            let judged = self.judge(&self.body[..cut]);
            assert!(judged.is_err(), "complete at {} of {}: {judged:?}", cut, self.body.len());
        }
    }

    /// The ends of the events, and up to where the answer is needed whole. The last byte of a CRLF is not: what
    /// it ends is ended by the CR.
    fn events(&self) -> (Vec<usize>, usize) {
        let mut reader = Reader::default();
        let mut rest = self.body;
        let mut ends = Vec::new();
        while let Some(event) = reader.next(&mut rest) {
            let end = usize::try_from(event.end).unwrap();
            if let Data::Whole(data) = event.data
                && self.dialect.ends_stream(data)
            {
                let is_crlf = self.body[..end].ends_with(b"\r\n");
                return (ends, end - usize::from(is_crlf));
            }
            ends.push(end);
        }
        panic!("complete without an event that ends the stream");
    }

    fn check_replays(&self, complete: &Complete) {
        for want in SHAPES {
            let Ok(told) = self.dialect.replay(self.recorded, self.body, want) else { continue };
            let recorded = match want {
                ReplyShape::Json => Recorded::Json,
                ReplyShape::Sse { .. } => Recorded::Sse,
            };
            let again = self
                .dialect
                .judge(recorded, &told.body, self.terms)
                .unwrap_or_else(|why| panic!("{want:?} is not complete: {why}"));
            let hides = self.dialect.hider(want).is_some();
            assert!(again == *complete || hides, "{want:?}: {again:?}, {complete:?}");
        }
    }

    fn check_hider(&self, shape: ReplyShape, choices: &mut Choices) {
        let hidden = |pieces: &[&[u8]]| {
            let mut hider = self.dialect.hider(shape)?;
            let mut out = Vec::new();
            for piece in pieces {
                hider.push(piece, &mut out);
            }
            hider.finish(&mut out);
            Some(out)
        };
        let Some(whole) = hidden(&[self.body]) else { return };
        let single: Vec<_> = self.body.chunks(1).collect();
        let splits = (0..SPLITS).map(|_| choices.pieces(self.body));
        for pieces in std::iter::once(single).chain(splits) {
            assert!(hidden(&pieces).as_ref() == Some(&whole), "a split changes what is hidden");
        }
        let mut left = whole.as_slice();
        let mut reader = Reader::default();
        let mut rest = self.body;
        while !rest.is_empty() {
            let before = rest;
            let has_ended = reader.next(&mut rest).is_some();
            let event = &before[..before.len() - rest.len()];
            match left.strip_prefix(event) {
                Some(after) => left = after,
                None => assert!(has_ended, "something that is no event is missing"),
            }
        }
        assert!(left.is_empty(), "something was added");
    }
}
