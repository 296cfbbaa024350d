"""What is sent to break kt, each with the tests that send it; and the raw requests of `probes.py`.

`python tests/e2e/hardening.py` writes docs/reference/hardening.md; `test_hardening_page.py` fails where that is out of step.
"""

from pathlib import Path

from probes import PROBES

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/reference/hardening.md"

BAD = "test_bad_input.py"
MATRIX = "test_negative_matrix.py"
NAUGHTY = "test_naughty.py"
FORWARDED = "test_forwarded.py"
H2 = "test_h2_abuse.py"
MCP = "test_mcp.py"
KNOWN = "test_identities.py"
CONFUSED = "test_identities_confused.py"
JSON = "contract/src/json/tests.rs"
KEY = "contract/src/key/tests.rs"
SSE = "providers/src/sse/tests.rs"
JUDGE = "providers/src/openai_chat/tests/judge.rs"
REPLAY = "providers/src/openai_chat/tests/replay.rs"

# What comes in, what must happen, and the tests that show it: a file of this folder or of the whole, and a name.
INPUTS = {
    55: ("two requests that differ in any byte or header that reaches a provider", "other keys, or no cache", [
        (MATRIX, "any_field_of_the_body_that_may_change_the_answer_misses"), (MATRIX, "a_header_that_changes_the_answer_misses"),
        (JSON, "different_requests_have_different_canonical_forms"),
        ("fuzz/tests/crossings.rs", "no_organization_is_told_what_another_one_was"),
    ]),
    56: ("a JSON name that stands twice", "400, never cached", [
        (BAD, "a_name_that_stands_twice_is_refused"), (JSON, "a_key_twice_is_refused_however_it_is_written"),
    ]),
    57: ("one number in several spellings, or beyond every type", "a key for each spelling; what is no number is refused", [
        (MATRIX, "numbers_are_told_apart_by_how_they_are_written"), (JSON, "what_the_standard_forbids_is_refused_where_it_stands"),
    ]),
    58: ("half a surrogate pair, overlong UTF-8, UTF-16, a BOM", "400, nothing forwarded, no trap", [
        (BAD, "a_body_that_is_no_json_is_refused"), (JSON, "half_a_surrogate_pair_is_no_character"),
        (JSON, "bytes_that_are_no_utf8_are_refused_where_they_stand"),
    ]),
    59: ("texts that look alike: NFC and NFD, zero-width, bidi, tags, homoglyphs", "a key for each; detectors see through them", [
        (MATRIX, "characters_that_look_alike_are_told_apart"), ("policy/src/disguise.rs", "what_is_disguised_is_read"),
        ("policy/tests/detectors.rs", "what_is_to_be_found_is_found_and_little_else"),
    ]),
    60: ("NUL in texts, names and heads", "kept byte for byte in a body, refused in a head", [
        (BAD, "a_prompt_of_any_kind_makes_the_round_trip"), ("test_probes.py", "a_raw_request_has_a_bare_envoys_verdict_or_a_stricter_one"),
        ("tests/stores/tests/stores/shared_ledger.rs", "names_are_bytes_and_never_statements"),
    ]),
    61: ("JSON that nests 65 to 2,000,000 deep, has a million names, is a string of 64 MiB", "400 or 413, in time and memory that grow with its length: less than ten times of it", [
        (BAD, "a_body_that_nests_too_deep_is_refused"), (BAD, "a_body_with_too_many_values_is_refused"),
        (NAUGHTY, "a_million_names_are_refused_before_they_are_more_than_their_bytes"),
        (NAUGHTY, "a_string_of_64_mib_is_refused_unread"),
        (NAUGHTY, "a_body_that_is_much_work_to_read_is_answered_at_once"),
        ("tests/filter-host/tests/module/bombs.rs", "json_bombs_are_refused_or_passed_and_never_trap"),
        ("tests/filter-host/tests/module/bombs.rs", "two_hundred_large_bodies_cost_no_more_memory_than_three_of_them"),
    ]),
    62: ("the 318 cases of JSONTestSuite as npm has them (what is no UTF-8 stands as U+FFFD there), and 201 of our own", "`y_` read but for names that stand twice, `n_` refused, `i_` either", [
        (JSON, "json_is_read_by_the_grammar_but_for_names_that_stand_twice"),
        (NAUGHTY, "json_by_the_grammar_through_the_front_door"), (NAUGHTY, "json_alone_as_a_body_is_never_a_request"),
    ]),
    63: ("the 461 strings of the Big List of Naughty Strings, and 201 of our own, as prompt and model; every sixth as organization, tag, person, head", "byte for byte, or refused by name; logs stay lines of JSON", [
        (NAUGHTY, "naughty_prompts_make_the_round_trip_byte_for_byte"), (NAUGHTY, "naughty_models_are_served_by_nobody"),
        (NAUGHTY, "naughty_organizations_share_nothing"), (NAUGHTY, "naughty_names_of_people_and_tags_are_theirs_alone"),
        (NAUGHTY, "naughty_headers_are_taken_or_refused_and_break_nothing"),
    ]),
    64: ("compressed bodies, bombs, a coding that is not the body's", "415 unread, or 400; never keyed in one form and forwarded in another", [
        (BAD, "a_compressed_body_is_refused"), (NAUGHTY, "a_body_that_is_not_what_it_looks_like_is_refused_unread"),
    ]),
    65: ("multipart, audio, text", "415", [(BAD, "another_kind_of_body_is_refused")]),
    66: ("a body beyond the bound", "413, with and without a length; up to the bound it is read whole", [
        (BAD, "a_body_beyond_the_bound_is_refused"), (BAD, "a_body_at_the_bound_is_read"),
    ]),
    67: ("`X-Org`, `x-kt-*`, `x-envoy-*`, underscores", "nobody's word about rights, and not forwarded", [
        (BAD, "our_own_headers_from_outside_are_ignored"), (FORWARDED, "a_provider_gets_what_is_listed_and_nothing_else"),
        (FORWARDED, "without_the_sidecar_a_provider_gets_no_more"),
    ]),
    68: ("names that are equal when put together: `a|b`, `c` and `a`, `b|c`", "other keys", [
        (MATRIX, "field_boundaries_cannot_be_moved"), (KEY, "every_gate_alone_changes_key_and_check_and_is_named"),
    ]),
    69: ("CRLF, spaces and `{}` in names that reach a Redis", "no byte of them in a key", [
        ("tests/stores-redis/tests/redis/entries.rs", "no_byte_of_an_organization_is_in_a_key"),
    ]),
    70: ("SQL in names", "parameters only", [
        ("tests/stores/tests/stores/shared_ledger.rs", "names_are_bytes_and_never_statements"), (NAUGHTY, "naughty_organizations_share_nothing"),
    ]),
    71: ("a hostile Redis: garbage, huge lengths, endless lines, pushes", "the connection is closed, memory has its bound", [
        ("tests/stores-redis/tests/redis/faults.rs", "what_is_no_answer_closes_the_connection"),
        ("tests/stores-redis/tests/redis/faults.rs", "a_push_that_nobody_asked_for_changes_nothing"),
        ("sidecar-cache/src/resp.rs", "a_length_is_a_number_and_within_its_bound"),
        ("sidecar-cache/src/resp.rs", "a_line_without_an_end_is_too_large"),
    ]),
    72: ("SSE as nobody writes it: CR, LF, CRLF, split anywhere, comments, long lines, no UTF-8", "the events of the standard, the bytes as they came", [
        (SSE, "a_split_at_every_byte_changes_nothing"), (SSE, "lines_end_with_lf_crlf_or_cr_as_they_like"),
        (SSE, "bytes_that_are_no_utf8_pass_through"), (SSE, "a_line_without_end_holds_no_more_than_the_bound"),
        (SSE, "ten_thousand_single_bytes_are_one_stream"), ("test_replay.py", "a_provider_with_odd_manners_is_replayed_faithfully"),
    ]),
    73: ("calls split over deltas, in parallel, several choices, refusals, chunks without choices", "whole or not whole, rightly", [
        (JUDGE, "every_fixture_cut_after_any_line_is_not_complete"), (JUDGE, "every_choice_must_end"),
        (JUDGE, "chunks_without_choices_decide_nothing"), (REPLAY, "stream_to_json_to_stream_to_json_is_stable"),
    ]),
    74: ("usage that is absent, negative, absurd, no number, told twice", "not believed; what came is counted", [
        ("test_wallet_endings.py", "a_usage_that_cannot_be_is_not_believed_and_what_came_is_counted"),
        ("test_nothing_broken.py", "a_usage_that_nobody_should_believe_breaks_nothing"),
    ]),
    75: ("amounts: 0, −1, 2^53, 1.0, `\"25\"`, two of them", "400, with what an amount is", [
        ("sidecar-cache/tests/sidecar/wallet_api.rs", "what_is_no_amount_is_told_what_one_is"),
        ("contract/src/money/tests.rs", "an_amount_ends_at_2_to_the_53_less_1"),
    ]),
    76: ("an idempotency key with another body, of 256 characters, an empty one, two of them", "422; 400; as without one; 400", [
        ("test_idempotency.py", "another_request_with_the_same_key_is_refused"),
        ("test_idempotency.py", "a_key_that_is_too_long_is_refused_by_its_name"),
        ("test_idempotency.py", "an_empty_key_is_none"), ("test_idempotency.py", "of_two_keys_none_is_chosen"),
    ]),
    77: ("a model in another case, with a space, without a price", "404; without a price no call is made", [
        (BAD, "a_model_that_nobody_serves_is_not_found"), (MATRIX, "another_model_misses"),
        ("test_wallet.py", "what_has_no_price_is_refused_by_name_and_not_called"),
    ]),
    78: ("`stream`, `stream_options`, `seed`, `user`, `metadata`", "keyed or not as [the key](cache-key.md) says; a hit has the shape that was asked for", [
        (MATRIX, "a_field_that_cannot_change_the_answer_hits"), (MATRIX, "any_field_of_the_body_that_may_change_the_answer_misses"),
        ("test_replay.py", "a_stream_is_replayed_as_json"), ("test_replay.py", "json_is_replayed_as_a_stream"),
    ]),
    79: ("cookies and credentials that differ, and nothing else", "one key inside the same gates; nothing of them is stored", [
        (MATRIX, "the_same_gates_under_another_key_are_a_hit"), (FORWARDED, "what_is_not_forwarded_changes_no_answer"),
    ]),
    80: ("paths: `//`, `/../`, `;x.css`, `%2f`, `#`, the absolute form", "judged as the provider will see it, or 400", [
        (BAD, "a_path_is_judged_as_the_provider_will_see_it"), (BAD, "a_path_that_nobody_knows_is_not_found"),
    ]),
    81: ("requests that two readers read in two ways", "the verdicts of a bare Envoy, or stricter ones: below", [
        ("test_probes.py", "a_raw_request_has_a_bare_envoys_verdict_or_a_stricter_one"), (BAD, "a_request_that_never_becomes_whole_reaches_nobody"),
    ]),
    82: ("HTTP/2: 10,000 resets, floods of CONTINUATION, SETTINGS, PING, PRIORITY, WINDOW_UPDATE and empty DATA, no window, bombs of fields, DATA behind the end", "others are answered; no flight, hold or body is left; Envoy lives", [
        (H2, "ten_thousand_streams_that_are_reset_at_once_leave_nothing"),
        (H2, "streams_that_are_reset_while_their_calls_run_end_the_calls"), (H2, "heads_whose_bodies_never_come_cost_nothing"),
        (H2, "a_flood_of_frames_that_ask_nothing_ends_its_connection"), (H2, "a_flood_of_continuations_ends_its_connection"),
        (H2, "a_flood_of_empty_data_ends_its_connection"), (H2, "readers_without_a_window_hold_back_nobody"),
        (H2, "a_small_head_that_unfolds_to_a_large_one_is_refused"), (H2, "a_table_beyond_what_was_agreed_ends_its_connection"),
        (H2, "data_behind_the_end_of_a_stream_is_an_error"), (H2, "a_window_beyond_what_there_can_be_ends_its_connection"),
    ]),
    83: ("MCP: batches, ids that are missing or none, names of tools that look alike, schemas that go in circles, poisoned lists, headers that are not the body's", "kt reads none of it: its paths are 404, on a model's path it is no request, its headers go nowhere; what of tools stands in a request is read as the rest", [
        (MCP, "a_tool_servers_path_is_nobodys_and_nothing_goes_on"), (MCP, "no_stream_and_no_session_is_opened_there"),
        (MCP, "on_a_models_path_it_is_no_request_whatever_its_headers_say"), (MCP, "its_headers_decide_nothing_and_go_to_nobody"),
        (MCP, "tools_whose_names_look_alike_are_told_apart_and_go_on_as_they_came"),
        (MCP, "who_lets_a_provider_speak_to_a_tool_server_shares_no_answer"),
        (MCP, "what_a_tool_server_told_is_read_as_what_is_said"),
        (MCP, "an_answer_by_a_schema_that_goes_in_circles_is_not_passed_unchecked"),
    ]),
    84: ("texts of injections and personal data", "found as the page of [detectors](detectors.md) tells; time grows with the length", [
        ("policy/tests/detectors.rs", "what_is_to_be_found_is_found_and_little_else"),
        ("policy/tests/detectors.rs", "a_text_in_pieces_has_the_findings_of_the_whole"),
    ]),
    85: ("a configuration that is broken, or has a pattern too large to search for", "refused by line; the last good one stays", [
        ("test_live_config.py", "a_bad_file_keeps_the_last_good_configuration_and_says_so"),
        ("test_config_versions.py", "200_changes_under_load_lose_no_request_and_each_is_decided_by_one_version"),
        ("contract/src/config/tests/policies.rs", "words_and_bounds_that_cannot_be_are_errors"),
    ]),
    86: ("a client's clock: `Date`, `X-Request-Start`, `Age`", "ignored", [(FORWARDED, "a_clients_clock_ages_nothing")]),
}

# Whom an identity could be taken for, what must happen, and the tests that try it.
IDENTITIES = [
    ("headers by which proxies tell identities (`x-forwarded-client-cert`, payloads of JWTs, and their kind)", "a client's word: read by nobody", [
        (CONFUSED, "what_proxies_call_an_identity_is_a_clients_word"), (KNOWN, "no_header_says_who_somebody_is"),
    ]),
    ("SPIFFE IDs of another trust domain, in another case, encoded, with ports, dots, commas or more than 512 bytes", "401 `unknown_identity`", [
        (CONFUSED, "an_id_that_is_none_or_another_ones_is_nobody"), (KNOWN, "an_id_that_no_rule_names_or_that_is_none_is_nobody"),
        (CONFUSED, "the_longest_id_that_is_read_is_somebody"),
    ]),
    ("several URIs in a certificate, or an ID in its subject or another kind of name", "nobody's, in any order", [
        (CONFUSED, "three_ids_are_nobodys_whichever_comes_first"), (CONFUSED, "an_id_anywhere_else_in_a_certificate_is_none"),
    ]),
    ("certificates of another authority, of a workload, of a server, and such that are over", "the handshake ends", [
        (CONFUSED, "a_certificate_that_is_no_good_ends_the_connection"), (KNOWN, "a_certificate_of_another_authority_ends_the_connection"),
    ]),
    ("JWTs that are over, for somebody else, without an end, forged, or say themselves how to verify them", "401 `invalid_api_key`", [
        (KNOWN, "a_token_that_is_no_good_is_refused"), (KNOWN, "a_forged_token_is_refused"),
        (CONFUSED, "a_token_says_nothing_of_how_it_is_to_be_verified"),
    ]),
    ("a JWT in a cookie, a query, or another field", "counts nowhere but in `Authorization: Bearer`", [
        (CONFUSED, "a_token_counts_in_its_one_place_alone"), (KNOWN, "of_two_credentials_none_is_chosen"),
    ]),
    ("claims that are missing, of another type, with control characters, or nearly what a rule asks for", "401", [
        (CONFUSED, "a_subject_that_is_no_name_is_nobody"), (CONFUSED, "a_claim_that_names_somebody_and_is_no_name_refuses"),
        (CONFUSED, "a_claim_that_is_nearly_what_a_rule_asks_for_is_not"), (KNOWN, "a_good_token_without_what_a_rule_asks_for_is_nobody"),
    ]),
    ("two issuers with the same subject, or with a subject that looks like the other's", "two identities; an issuer signs for itself alone", [
        (CONFUSED, "the_same_subject_of_two_issuers_is_two"), (CONFUSED, "an_issuer_signs_for_itself_alone"),
        (CONFUSED, "a_subject_that_looks_like_another_issuers_is_its_own"),
    ]),
    ("a key beside an identity, or two identities", "the key decides alone; else the first rule", [
        (KNOWN, "a_key_decides_alone_and_a_bad_one_is_not_passed_over"),
        (CONFUSED, "with_a_certificate_and_a_token_the_first_rule_decides"),
    ]),
    ("somebody else on the same connection", "each request is its own", [(CONFUSED, "on_one_connection_each_request_is_its_own")]),
    ("an identity whose rule is taken away, or is another organization's, while it runs", "nobody, or the other's, soon after; from then on nothing of before is told", [
        (CONFUSED, "a_rule_that_changes_is_another_one_at_once"), (KNOWN, "a_rule_that_is_taken_away_soon_lets_nobody_in_any_more"),
    ]),
    ("an identity of an organization that has no pack", "403 `tenant_not_configured`", [
        (KNOWN, "on_a_hosted_gateway_an_identity_is_decided_by_its_organizations_pack"),
    ]),
]

# Not sent yet, and why.
NOT_YET = {}


def path_of(file):
    return ROOT / (file if "/" in file else f"tests/e2e/{file}")


def definition(file, name):
    """How the test begins in its file."""
    return f"def test_{name}(" if file.endswith(".py") else f"fn {name}("


def cell(text):
    return text.replace("|", "\\|")


def inputs():
    for row, (what, expected, tests) in INPUTS.items():
        shown = "<br>".join(f"{name.replace('_', ' ')} (`{file}`)" for file, name in tests)
        yield f"| {row} | {cell(what)} | {cell(expected)} | {shown or f'**not sent**: {NOT_YET[row]}'} |"


def identities():
    for what, expected, tests in IDENTITIES:
        shown = "<br>".join(f"{name.replace('_', ' ')} (`{file}`)" for file, name in tests)
        yield f"| {cell(what)} | {cell(expected)} | {shown} |"


def probes():
    for number, probe in enumerate(PROBES, 1):
        ours = f"{probe.verdict}" if probe.verdict else "none"
        if probe.verdict and probe.verdict >= 400:
            ours += f" `{probe.code}`"
        seen = "a call" if probe.calls else "nothing"
        yield f"| {number} | {probe.what} | {probe.bare or 'none'} | {probe.upstream} | {ours} | {seen} | {probe.why} |"


def page():
    """The page, from the rows and the probes."""
    stricter = sum(probe.verdict != probe.bare for probe in PROBES)
    return "\n".join([
        "# Hardening",
        "",
        "What is sent to break kt, what must happen, and the tests that send it: files of `tests/e2e` where nothing else is",
        "said. The numbers go on from those of the [faults](faults.md). Who could want to send it, and what holds him, is in",
        "the [threat model](../threat-model.md). Written by `python tests/e2e/hardening.py`, and checked by `make test-e2e`.",
        "",
        "## Bad inputs",
        "",
        "| # | what comes | what must happen | what shows it |",
        "|---|---|---|---|",
        *inputs(),
        "",
        "## Identities",
        "",
        "How [who somebody is without a key](../operations/identities.md) could be taken for another: whoever cannot be read is nobody.",
        "",
        "| what comes | what must happen | what shows it |",
        "|---|---|---|",
        *identities(),
        "",
        "## Raw requests",
        "",
        f"{len(PROBES)} requests that two readers could read in two ways, each sent as bytes to a bare Envoy 1.40 with the options of our",
        "ingress listener (`normalize_path`, `merge_slashes`, escaped slashes and underscores refused) and to a gateway, with a",
        "good key and a good body wherever it may have one (`tests/e2e/probes.py`, `test_probes.py`). \"None\" is a connection that",
        f"ends without an answer. kt has the same verdict, but for {stricter} that it refuses where the bare Envoy goes on. What is called",
        "is called once, on the path that was judged, with the fields that are listed and no other.",
        "",
        "A bare Envoy has passed on a part of a request when it finds that the rest is none; kt holds the body until it is",
        "whole, and nothing of those requests leaves. A CR inside a value cannot be refused: Envoy's parser takes it out before",
        "its filters, or anything behind, can see it, so that nobody reads two lines there.",
        "",
        "| # | request | bare Envoy | its upstream gets | kt | its provider gets | why |",
        "|---|---|---|---|---|---|---|",
        *probes(),
    ]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
