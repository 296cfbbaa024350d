//! What an upstream call's outcome means: whether the provider spoke at all, what to do with what it says,
//! and whether the answer may be stored. Pure: facts in, a verdict out.

use kt_contract::outcome::Reason;
use kt_providers::{Dialect, Incomplete, Recorded, Terms, Usage};

/// What Envoy writes into `%RESPONSE_CODE_DETAILS%` when, and only when, the answer is the provider's.
pub const VIA_UPSTREAM: &str = "via_upstream";

/// The head of what came back through the egress listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The status.
    pub status: u16,
    /// Envoy's response code details.
    pub details: Option<&'a str>,
    /// The content type.
    pub content_type: Option<&'a str>,
    /// The content encoding, asked to be `identity`.
    pub content_encoding: Option<&'a str>,
}

/// What to do with an answer whose head is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Envoy spoke, not the provider: nothing was paid for.
    NotReached,
    /// The provider refused the gateway's credential. What it says of it is not for the client, whose SDK
    /// would take it for a word about the client's own key.
    Unauthorized,
    /// The client gets it as it comes; it is not stored, for this reason.
    Pass(Reason),
    /// It may turn out to be storable: record it, in this shape.
    Record(Recorded),
}

/// How the transport ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The end was announced and came.
    Clean,
    /// It broke off, or nothing came for too long.
    Broken,
}

/// A recorded answer, as far as it came.
#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    /// The client's dialect.
    pub dialect: Dialect,
    /// The shape of the answer.
    pub recorded: Recorded,
    /// All of it; `None` where it outgrew the bound in bytes.
    pub body: Option<&'a [u8]>,
    /// How the transport ended.
    pub transport: Transport,
    /// Whether the provider allows to store it.
    pub may_store: bool,
    /// What of the request decides whether its answer is complete.
    pub terms: Terms,
    /// `max_entry_tokens`.
    pub entry_tokens_max: u64,
    /// `workflow_cache.max_entry_bytes`.
    pub entry_bytes_max: u64,
}

/// What to do with a recorded answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is complete and within bounds.
    Fill {
        /// What it took.
        usage: Option<Usage>,
    },
    /// The client may have it; it is not stored.
    Serve {
        /// Why not.
        reason: Reason,
        /// What it took, where that is known.
        usage: Option<Usage>,
    },
    /// It is no whole answer: whoever reads it must be told.
    CutShort,
}

/// What became of a call, as far as the money for it is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing has been sent.
    Unsent,
    /// It was sent; the provider has not answered.
    Sent,
    /// It was sent, or may have been, and what became of it cannot be known.
    Lost,
    /// The provider was not reached, or has refused.
    Refused,
    /// The provider has answered.
    Answered,
}

/// What becomes of the money that was set aside for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing was spent.
    Release,
    /// What was told, or counted, is spent.
    Settle,
    /// It stays set aside until its time is over, and then lies in suspense for evidence.
    Leave,
}

/// What becomes of the money of a call that has ended so. Once the provider has answered, nothing that is decided
/// here gives it back; a call that was sent and was not waited for has cost its input at least.
#[must_use]
pub const fn due(fate: Fate) -> Due {
    match fate {
        Fate::Unsent | Fate::Refused => Due::Release,
        Fate::Sent | Fate::Answered => Due::Settle,
        Fate::Lost => Due::Leave,
    }
}

/// The fate of a call that Envoy answered by itself, by what it writes into `%RESPONSE_CODE_DETAILS%`: refused only
/// where nothing of the request can have reached the provider (the reset reasons of Envoy's
/// `Http::Utility::resetReasonToString`).
#[must_use]
pub fn fate_without_provider(details: Option<&str>) -> Fate {
    const NEVER_SENT: [&str; 4] =
        ["no_healthy_upstream", "cluster_not_found", "no_cluster", "route_not_found"];
    const RESET: &str = "upstream_reset_before_response_started{";
    const NEVER_CONNECTED: [&str; 8] = [
        "local_connection_failure",
        "remote_connection_failure",
        "connection_timeout",
        "connect_error",
        "overflow",
        "overload_manager",
        "local_refused_stream_reset",
        "remote_refused_stream_reset",
    ];
    let details = details.unwrap_or_default();
    let reason = details.strip_prefix(RESET).unwrap_or_default();
    let is_unsent = NEVER_SENT.iter().any(|word| details.starts_with(word))
        || NEVER_CONNECTED.iter().any(|word| reason.starts_with(word));
    if is_unsent { Fate::Refused } else { Fate::Lost }
}

/// Reads the head of an answer.
#[must_use]
pub fn start(head: Head<'_>) -> Start {
    if head.details != Some(VIA_UPSTREAM) {
        return Start::NotReached;
    }
    if matches!(head.status, 401 | 403) {
        return Start::Unauthorized;
    }
    if head.status != 200 {
        return Start::Pass(Reason::Status);
    }
    // What cannot be read cannot be judged.
    if head.content_encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Start::Pass(Reason::Incomplete);
    }
    let essence = head.content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    if essence.trim().eq_ignore_ascii_case("text/event-stream") {
        Start::Record(Recorded::Sse)
    } else if essence.trim().eq_ignore_ascii_case("application/json") {
        Start::Record(Recorded::Json)
    } else {
        Start::Pass(Reason::Incomplete)
    }
}

/// Whether a provider's `Cache-Control` allows to store its answer. `no-cache`, which streams carry, says that
/// a proxy must ask again; what this cache may do without asking is the operator's business.
#[must_use]
pub fn may_store(cache_control: Option<&str>) -> bool {
    let mut directives = cache_control.unwrap_or_default().split(',');
    !directives.any(|directive| directive.trim().eq_ignore_ascii_case("no-store"))
}

/// Judges a recorded answer by the write rule.
#[must_use]
pub fn verdict(finished: Finished<'_>) -> Verdict {
    let Finished { dialect, recorded, body, transport, may_store, terms, .. } = finished;
    let Finished { entry_tokens_max, entry_bytes_max, .. } = finished;
    if transport == Transport::Broken {
        return Verdict::CutShort;
    }
    let Some(body) = body else {
        return Verdict::Serve { reason: Reason::EntryTooLarge, usage: None };
    };
    match dialect.judge(recorded, body, terms) {
        Err(Incomplete::CutShort) => Verdict::CutShort,
        Err(incomplete) => {
            // It has been paid for, whatever it is worth to others.
            let delivered = dialect.delivered(recorded, body);
            let usage = delivered.usage.filter(|_| delivered.is_final);
            Verdict::Serve { reason: incomplete.reason(), usage }
        }
        Ok(complete) => {
            let usage = complete.usage;
            if tokens(usage, body) > entry_tokens_max || body.len() as u64 > entry_bytes_max {
                Verdict::Serve { reason: Reason::EntryTooLarge, usage }
            } else if !may_store {
                Verdict::Serve { reason: Reason::NoStore, usage }
            } else {
                Verdict::Fill { usage }
            }
        }
    }
}

/// The size that `max_entry_tokens` bounds: what the provider says, else a token for every four bytes.
fn tokens(usage: Option<Usage>, body: &[u8]) -> u64 {
    usage.map_or(body.len() as u64 / 4, |usage| usage.output_tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Head<'_> = Head {
        status: 200,
        details: Some("via_upstream"),
        content_type: Some("application/json"),
        content_encoding: None,
    };

    #[test]
    fn once_the_provider_has_answered_nothing_gives_the_money_back() {
        for (fate, expected) in [
            (Fate::Unsent, Due::Release),
            (Fate::Refused, Due::Release),
            (Fate::Sent, Due::Settle),
            (Fate::Answered, Due::Settle),
            (Fate::Lost, Due::Leave),
        ] {
            assert_eq!(due(fate), expected, "{fate:?}");
        }
    }

    #[test]
    fn money_comes_back_only_where_nothing_can_have_been_sent() {
        let reset = |reason: &str| format!("upstream_reset_before_response_started{{{reason}}}");
        for details in [
            "no_healthy_upstream".to_owned(),
            "cluster_not_found".to_owned(),
            reset("remote_connection_failure|delayed_connect_error:_Connection_refused"),
            reset("connection_timeout"),
            reset("overflow"),
            reset("remote_refused_stream_reset"),
        ] {
            assert_eq!(fate_without_provider(Some(&details)), Fate::Refused, "{details}");
        }
        for details in [
            reset("connection_termination"),
            reset("remote_reset"),
            reset("protocol_error"),
            "response_timeout".to_owned(),
            "upstream_response_timeout".to_owned(),
            String::new(),
        ] {
            assert_eq!(fate_without_provider(Some(&details)), Fate::Lost, "{details}");
        }
        assert_eq!(fate_without_provider(None), Fate::Lost);
    }

    const USAGE: Usage = Usage {
        uncached_input_tokens: 5,
        cache_read_tokens: 0,
        cache_write_tokens: 0,
        cache_write_long_tokens: 0,
        output_tokens: 7,
    };
    const JSON: &[u8] = br#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}"#;
    const SSE: &[u8] = b"data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"hi\"},\"finish_reason\":null}]}\n\ndata: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

    fn finished(recorded: Recorded, body: &[u8]) -> Finished<'_> {
        Finished {
            dialect: Dialect::OpenAiChat,
            recorded,
            body: Some(body),
            transport: Transport::Clean,
            may_store: true,
            terms: Terms::default(),
            entry_tokens_max: 100,
            entry_bytes_max: u64::MAX,
        }
    }

    #[test]
    fn the_head_decides_who_spoke_and_what_may_be_recorded() {
        use Start::{NotReached, Pass, Record, Unauthorized};
        for (what, head, expected) in [
            ("json", GOOD, Record(Recorded::Json)),
            (
                "json, charset",
                Head { content_type: Some("Application/JSON; charset=utf-8"), ..GOOD },
                Record(Recorded::Json),
            ),
            (
                "sse",
                Head { content_type: Some("text/event-stream;charset=utf-8"), ..GOOD },
                Record(Recorded::Sse),
            ),
            (
                "identity",
                Head { content_encoding: Some("Identity"), ..GOOD },
                Record(Recorded::Json),
            ),
            ("no details", Head { details: None, ..GOOD }, NotReached),
            ("Envoy spoke", Head { details: Some("no_healthy_upstream"), ..GOOD }, NotReached),
            ("Envoy's 503", Head { status: 503, details: Some("overflow"), ..GOOD }, NotReached),
            ("401", Head { status: 401, ..GOOD }, Unauthorized),
            ("403", Head { status: 403, ..GOOD }, Unauthorized),
            ("Envoy's 403", Head { status: 403, details: Some("rbac"), ..GOOD }, NotReached),
            ("429", Head { status: 429, ..GOOD }, Pass(Reason::Status)),
            ("500", Head { status: 500, ..GOOD }, Pass(Reason::Status)),
            ("201", Head { status: 201, ..GOOD }, Pass(Reason::Status)),
            ("html", Head { content_type: Some("text/html"), ..GOOD }, Pass(Reason::Incomplete)),
            ("no type", Head { content_type: None, ..GOOD }, Pass(Reason::Incomplete)),
            ("gzip", Head { content_encoding: Some("gzip"), ..GOOD }, Pass(Reason::Incomplete)),
        ] {
            assert_eq!(start(head), expected, "{what}");
        }
    }

    #[test]
    fn a_complete_answer_is_filled() {
        let usage = Some(USAGE);
        assert_eq!(verdict(finished(Recorded::Json, JSON)), Verdict::Fill { usage });
        assert_eq!(
            verdict(Finished {
                entry_tokens_max: SSE.len() as u64 / 4,
                ..finished(Recorded::Sse, SSE)
            }),
            Verdict::Fill { usage: None }
        );
    }

    #[test]
    fn a_provider_may_forbid_to_store_its_answer() {
        for (value, expected) in [
            (None, true),
            (Some("no-cache"), true),
            (Some("private, max-age=0"), true),
            (Some("no-store"), false),
            (Some("private,No-Store , max-age=0"), false),
            (Some("no-stores"), true),
        ] {
            assert_eq!(may_store(value), expected, "{value:?}");
        }
        let usage = Some(USAGE);
        let verdict = verdict(Finished { may_store: false, ..finished(Recorded::Json, JSON) });
        assert_eq!(verdict, Verdict::Serve { reason: Reason::NoStore, usage });
    }

    #[test]
    fn every_cut_of_an_answer_is_told_or_at_least_not_stored() {
        for (recorded, whole) in [(Recorded::Json, JSON), (Recorded::Sse, SSE)] {
            for length in 0..whole.len() {
                let finished = finished(recorded, whole.get(..length).unwrap());
                let verdict = verdict(Finished { entry_tokens_max: u64::MAX, ..finished });
                assert!(!matches!(verdict, Verdict::Fill { .. }), "{recorded:?} cut at {length}");
            }
            let broken = Finished { transport: Transport::Broken, ..finished(recorded, whole) };
            assert_eq!(verdict(broken), Verdict::CutShort);
        }
    }

    #[test]
    fn tokens_are_the_providers_or_a_quarter_of_the_bytes() {
        let too_large = |usage| Verdict::Serve { reason: Reason::EntryTooLarge, usage };
        let usage = Some(USAGE);
        let quarter = SSE.len() as u64 / 4;
        for (recorded, body, bound, expected) in [
            (Recorded::Json, JSON, 7, Verdict::Fill { usage }),
            (Recorded::Json, JSON, 6, too_large(usage)),
            (Recorded::Sse, SSE, quarter, Verdict::Fill { usage: None }),
            (Recorded::Sse, SSE, quarter - 1, too_large(None)),
        ] {
            let verdict = verdict(Finished { entry_tokens_max: bound, ..finished(recorded, body) });
            assert_eq!(verdict, expected, "{recorded:?} within {bound}");
        }
    }

    #[test]
    fn bytes_are_bounded_beside_tokens() {
        let bytes = JSON.len() as u64;
        let within = Finished { entry_bytes_max: bytes, ..finished(Recorded::Json, JSON) };
        assert!(matches!(verdict(within), Verdict::Fill { .. }));
        let beyond = Finished { entry_bytes_max: bytes - 1, ..finished(Recorded::Json, JSON) };
        let reason = Reason::EntryTooLarge;
        assert!(matches!(verdict(beyond), Verdict::Serve { reason: why, .. } if why == reason));
    }

    #[test]
    fn what_outgrew_the_bound_is_served_and_not_stored() {
        let verdict = verdict(Finished { body: None, ..finished(Recorded::Sse, SSE) });
        assert_eq!(verdict, Verdict::Serve { reason: Reason::EntryTooLarge, usage: None });
    }

    #[test]
    fn an_end_that_is_not_stored_has_its_reason() {
        let length = JSON.to_vec();
        let length = String::from_utf8(length).unwrap().replace("\"stop\"", "\"length\"");
        let filtered = length.replace("\"length\"", "\"content_filter\"");
        // What was paid for is known all the same.
        let not_stored = Verdict::Serve { reason: Reason::FinishReason, usage: Some(USAGE) };
        assert_eq!(verdict(finished(Recorded::Json, length.as_bytes())), not_stored);
        assert_eq!(verdict(finished(Recorded::Json, filtered.as_bytes())), not_stored);
        let terms = Terms { client_limited: true, answers: None };
        let asked_for = Finished { terms, ..finished(Recorded::Json, length.as_bytes()) };
        assert!(matches!(verdict(asked_for), Verdict::Fill { .. }));
    }

    #[test]
    fn fewer_choices_than_asked_for_are_served_and_not_stored() {
        for (answers, is_stored) in [(1, true), (2, false)] {
            let terms = Terms { client_limited: false, answers: Some(answers) };
            let verdict = verdict(Finished { terms, ..finished(Recorded::Json, JSON) });
            assert_eq!(matches!(verdict, Verdict::Fill { .. }), is_stored, "{answers} asked for");
        }
    }
}
