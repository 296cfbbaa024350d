//! What a request asks the fake to do: `[[fake: cut_after=3, delta_ms=50]]` in its last user message. Pure
//! parsing; a directive that nobody knows is an error, so that a test cannot pass by a typo.
//!
//! In the prompt and not in a header, because a gateway strips headers. `README.md` has the table.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::point::{Point, percent};

/// How the answer deviates from a good one. The default deviates in nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Directive {
    /// What breaks.
    pub(crate) fault: Option<Fault>,
    /// Where to wait for `POST /release`, in the order in which they were named.
    pub(crate) gates: Vec<Gate>,
    /// The recorded exchange to play instead of an answer of our own.
    pub(crate) recording: Option<String>,
    /// Headers that say when, and whether, to ask again.
    pub(crate) advice: Vec<(&'static str, String)>,
    /// The `finish_reason` of every choice.
    pub(crate) finish: Option<String>,
    /// Another content type.
    pub(crate) content_type: Option<String>,
    /// Exactly so many bytes of content.
    pub(crate) size: Option<usize>,
    /// So many words of content.
    pub(crate) words: Option<usize>,
    /// This content, or with a tool that is called these arguments.
    pub(crate) says: Option<String>,
    /// How long to wait before the headers.
    pub(crate) ttfb_ms: u64,
    /// The time between two deltas, where it is not the default.
    pub(crate) delta_ms: Option<u64>,
    /// A few bytes at a time, with so much time between them.
    pub(crate) drip_ms: Option<u64>,
    /// How many bytes at a time.
    pub(crate) drip_bytes: Option<usize>,
    /// So many words of reasoning before the content.
    pub(crate) reasoning: usize,
    /// What the promised length has more or less than the body.
    pub(crate) length_off: isize,
    /// `cache-control: no-store` on the answer.
    pub(crate) no_store: bool,
    /// What `usage` holds.
    pub(crate) usage: UsageKind,
    /// A byte of the content that is no UTF-8.
    pub(crate) invalid_utf8: bool,
    /// The body compressed, although nobody asked for it.
    pub(crate) gzip: bool,
    /// Headers that only the gateway may set.
    pub(crate) forge: bool,
    /// Stream lines end with CRLF, with comments between the events.
    pub(crate) crlf: bool,
}

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An error answer.
    Status(u16),
    /// The connection is reset before the headers.
    Reset,
    /// The connection is reset after so many events of a stream, or bytes of a JSON body.
    CutAfter(usize),
    /// The connection is reset after so many bytes of the body.
    CutAfterBytes(usize),
    /// The connection is reset after so many hundredths of the body.
    CutAt(usize),
    /// A stream ends cleanly without its last event: `[DONE]` or its kin.
    NoDone,
    /// A stream ends cleanly after so many events.
    EndAfter(usize),
    /// The body ends cleanly after so many hundredths; a JSON body says so in its length.
    TruncateAt(usize),
    /// The body ends cleanly after so many bytes; a JSON body says so in its length.
    Truncate(usize),
    /// The same without a length.
    TruncateChunked(usize),
    /// 200, and then an error inside the body.
    ErrorEvent,
    /// Nothing, or no more, is ever sent.
    Hang(Point),
    /// 200 with an HTML page.
    Html,
}

/// A point where an answer waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gate {
    /// Its name; without one, only a release of all lets go.
    pub(crate) name: Option<String>,
    /// Where.
    pub(crate) point: Point,
}

/// What `usage` holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum UsageKind {
    /// What was used.
    #[default]
    Good,
    /// Nothing: there is none.
    Missing,
    /// Negative numbers.
    Negative,
    /// Strings.
    Text,
    /// 1e30 tokens.
    Absurd,
    /// Numbers with a fraction.
    Float,
    /// 2^53 tokens: the first number that not every reader of JSON holds exactly.
    Beyond,
    /// What was used, and then another one that contradicts it.
    Twice,
}

/// A directive that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadDirective(pub String);

const OPEN: &str = "[[fake:";
const CLOSE: &str = "]]";

// === impl Directive ===

impl Directive {
    /// Reads every `[[fake: …]]` in `text`; later ones add to earlier ones.
    ///
    /// # Errors
    /// Names the part that is not known or not closed.
    pub(crate) fn in_prompt(text: &str) -> Result<Self, BadDirective> {
        let mut directive = Self::default();
        let mut rest = text;
        while let Some((_, after)) = rest.split_once(OPEN) {
            let Some((inside, behind)) = after.split_once(CLOSE) else {
                return Err(BadDirective(format!("'{OPEN}' without '{CLOSE}'")));
            };
            directive.add(inside)?;
            rest = behind;
        }
        Ok(directive)
    }

    /// Adds the settings of `list`: `name` or `name=value`, between commas.
    ///
    /// # Errors
    /// Names the setting that is not known or has no such value.
    pub(crate) fn add(&mut self, list: &str) -> Result<(), BadDirective> {
        for setting in list.split(',').map(str::trim).filter(|setting| !setting.is_empty()) {
            let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
            if !self.set(name.trim(), value.trim())? {
                return Err(BadDirective(format!("unknown setting '{setting}'")));
            }
        }
        Ok(())
    }

    /// `false` for a name or a value that is not known.
    fn set(&mut self, name: &str, value: &str) -> Result<bool, BadDirective> {
        match name {
            "status" => self.fault = Some(Fault::Status(number(value)?)),
            "reset" => self.fault = Some(Fault::Reset),
            "cut_after" => self.fault = Some(Fault::CutAfter(number(value)?)),
            "cut_after_bytes" => self.fault = Some(Fault::CutAfterBytes(number(value)?)),
            "cut_at" => self.fault = Some(Fault::CutAt(percent(value)?)),
            "no_done" => self.fault = Some(Fault::NoDone),
            "end_after" => self.fault = Some(Fault::EndAfter(number(value)?)),
            "truncate_at" => self.fault = Some(Fault::TruncateAt(percent(value)?)),
            "truncate" => self.fault = Some(Fault::Truncate(number(value)?)),
            "truncate_chunked" => self.fault = Some(Fault::TruncateChunked(number(value)?)),
            "error_event" => self.fault = Some(Fault::ErrorEvent),
            "html" => self.fault = Some(Fault::Html),
            "hang" => self.fault = Some(Fault::Hang(Point::read(value)?)),
            "hold" => self.gates.push(Gate { name: None, point: Point::read(value)? }),
            "gate" => self.gates.push(gate(value)?),
            "recording" => self.recording = Some(value.to_owned()),
            "retry_after" => self.advise("retry-after", number::<u64>(value)?),
            "retry_after_ms" => self.advise("retry-after-ms", number::<u64>(value)?),
            "cookie_bytes" => self.advise("set-cookie", "c".repeat(number(value)?)),
            "should_retry" => self.advise("x-should-retry", number::<bool>(value)?),
            "finish" => self.finish = Some(value.to_owned()),
            "content_type" => self.content_type = Some(value.to_owned()),
            "size" => self.size = Some(number(value)?),
            "words" => self.words = Some(number(value)?),
            "says" => self.says = Some(encoded(value)?),
            "ttfb_ms" => self.ttfb_ms = number(value)?,
            "delta_ms" => self.delta_ms = Some(number(value)?),
            "drip_ms" => self.drip_ms = Some(number(value)?),
            "drip_bytes" => self.drip_bytes = Some(number(value)?),
            "reasoning" => self.reasoning = number(value)?,
            "length" => self.length_off = number(value)?,
            "no_store" => self.no_store = true,
            "usage" => self.usage = usage(value)?,
            "invalid_utf8" => self.invalid_utf8 = true,
            "gzip" => self.gzip = true,
            "forge" => self.forge = true,
            "crlf" => self.crlf = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn advise(&mut self, name: &'static str, value: impl ToString) {
        self.advice.push((name, value.to_string()));
    }

    /// The word under which the call is counted, if its answer ends as planned.
    #[must_use]
    pub(crate) fn outcome(&self) -> String {
        match self.fault {
            Some(Fault::Status(status)) => format!("status_{status}"),
            Some(Fault::Reset | Fault::CutAfter(_) | Fault::CutAfterBytes(_) | Fault::CutAt(_)) => {
                "cut".to_owned()
            }
            Some(
                Fault::NoDone
                | Fault::EndAfter(_)
                | Fault::Truncate(_)
                | Fault::TruncateAt(_)
                | Fault::TruncateChunked(_),
            ) => "truncated".to_owned(),
            Some(Fault::ErrorEvent) => "error_event".to_owned(),
            Some(Fault::Hang(_)) => "hang".to_owned(),
            Some(Fault::Html) => "html".to_owned(),
            None => "ok".to_owned(),
        }
    }
}

/// A prompt without its directives: the name under which its calls are counted.
#[must_use]
pub(crate) fn plain(prompt: &str) -> String {
    let mut plain = String::new();
    let mut rest = prompt;
    while let Some((before, after)) = rest.split_once(OPEN) {
        let Some((_, behind)) = after.split_once(CLOSE) else { break };
        plain.push_str(before);
        rest = behind;
    }
    plain.push_str(rest);
    plain.trim().to_owned()
}

fn number<T>(value: &str) -> Result<T, BadDirective>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    value.parse().map_err(|problem| BadDirective(format!("'{value}': {problem}")))
}

/// Reads `name` or `name@point`.
/// Text that a prompt must not show.
fn encoded(value: &str) -> Result<String, BadDirective> {
    let bad = || BadDirective(format!("'{value}' is no text in base64url"));
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(value).map_err(|_| bad())?;
    String::from_utf8(bytes).map_err(|_| bad())
}

fn gate(value: &str) -> Result<Gate, BadDirective> {
    let (name, point) = value.split_once('@').unwrap_or((value, ""));
    if name.is_empty() {
        return Err(BadDirective("a gate needs a name; 'hold' is one without".to_owned()));
    }
    Ok(Gate { name: Some(name.to_owned()), point: Point::read(point)? })
}

fn usage(value: &str) -> Result<UsageKind, BadDirective> {
    match value {
        "none" => Ok(UsageKind::Missing),
        "negative" => Ok(UsageKind::Negative),
        "string" => Ok(UsageKind::Text),
        "absurd" => Ok(UsageKind::Absurd),
        "float" => Ok(UsageKind::Float),
        "beyond" => Ok(UsageKind::Beyond),
        "twice" => Ok(UsageKind::Twice),
        _ => Err(BadDirective(format!("no usage is '{value}'"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_without_directive_asks_for_nothing() {
        for prompt in ["", "hello", "[[other: x]]", "fake: status=500"] {
            assert_eq!(Directive::in_prompt(prompt), Ok(Directive::default()), "{prompt}");
        }
    }

    #[test]
    fn settings_are_read_wherever_they_stand() {
        let prompt = "Hi [[fake: cut_after=3, delta_ms=50]] there [[fake:forge]]";
        let directive = Directive::in_prompt(prompt).unwrap();
        assert_eq!(directive.fault, Some(Fault::CutAfter(3)));
        assert_eq!(directive.delta_ms, Some(50));
        assert!(directive.forge);
    }

    #[test]
    fn a_gate_has_a_name_and_a_point() {
        let unnamed = |point| Gate { name: None, point };
        let named = |point| Gate { name: Some("a".to_owned()), point };
        for (text, gates) in [
            ("[[fake: hold]]", vec![unnamed(Point::Head)]),
            ("[[fake: hold=headers]]", vec![unnamed(Point::Head)]),
            ("[[fake: hold=body]]", vec![unnamed(Point::Percent(50))]),
            ("[[fake: gate=a]]", vec![named(Point::Head)]),
            (
                "[[fake: gate=a@event:2, gate=a@40%]]",
                vec![named(Point::Event(2)), named(Point::Percent(40))],
            ),
        ] {
            assert_eq!(Directive::in_prompt(text).unwrap().gates, gates, "{text}");
        }
    }

    #[test]
    fn a_prompt_has_a_name_without_its_directives() {
        assert_eq!(plain(" Hi [[fake: hold]] there [[fake:forge]]"), "Hi  there");
        assert_eq!(plain("Hi [[fake: hold"), "Hi [[fake: hold");
    }

    #[test]
    fn what_nobody_knows_is_an_error() {
        for prompt in [
            "[[fake: statsu=500]]",
            "[[fake: status=many]]",
            "[[fake: status=70000]]",
            "[[fake: hold=middle]]",
            "[[fake: gate=@head]]",
            "[[fake: cut_at=3]]",
            "[[fake: usage=odd]]",
            "[[fake: status=500",
        ] {
            assert!(Directive::in_prompt(prompt).is_err(), "{prompt}");
        }
    }
}
