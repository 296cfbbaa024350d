//! The strict reader, case by case, after the manner of the well-known JSON test suites.

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;
use Fault::{Character, Control, Depth, DuplicateKey, End, Escape, Nodes, Number, Trailing, Utf8};

const BOUNDS: Bounds = Bounds { depth_max: 8, nodes_max: 100 };

fn read(text: &str) -> Result<Node<'_>, Refused> {
    parse(text.as_bytes(), BOUNDS)
}

/// The canonical form as bytes.
fn canonical_bytes(text: &str, left_out: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    canonical(&read(text).unwrap(), left_out, &mut |part| bytes.extend_from_slice(part));
    bytes
}

#[wasm_bindgen_test(unsupported = test)]
fn what_the_standard_allows_is_read() {
    for text in [
        "null",
        "true",
        "false",
        " \t\r\n1 \t\r\n",
        "0",
        "-0",
        "0.0",
        "-1.5e+10",
        "1E9",
        "1e-9",
        "123456789012345678901234567890",
        r#""""#,
        r#""\u0000""#,
        r#""\/\b\f\n\r\t\\\"""#,
        "\"\u{7f}\"",
        "\"\u{2028}\"",
        "\"\u{10ffff}\"",
        r#""\ud834\udd1e""#,
        "[]",
        "[ ]",
        "{}",
        "[1,[2,[3]]]",
        r#"{"":0}"#,
        r#"{"a":{"a":{"a":0}}}"#,
        r#"{"\u0061":0,"b":1}"#,
    ] {
        assert!(read(text).is_ok(), "{text}: {:?}", read(text));
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn what_the_standard_forbids_is_refused_where_it_stands() {
    for (text, fault, at) in [
        // Nothing, or not enough.
        ("", End, 0),
        ("  ", End, 2),
        ("[", End, 1),
        ("[1", End, 2),
        ("[1,", End, 3),
        ("{", End, 1),
        (r#"{"a""#, End, 4),
        (r#"{"a":"#, End, 5),
        (r#"{"a":1"#, End, 6),
        ("\"abc", End, 4),
        // Something else, or too much.
        ("nul", Character, 0),
        ("True", Character, 0),
        ("NaN", Character, 0),
        ("Infinity", Character, 0),
        ("+1", Character, 0),
        (".5", Character, 0),
        ("'a'", Character, 0),
        ("\u{feff}1", Character, 0),
        ("[1,]", Character, 3),
        ("[,1]", Character, 1),
        ("[1 2]", Character, 3),
        ("{a:1}", Character, 1),
        ("{1:1}", Character, 1),
        (r#"{"a" 1}"#, Character, 5),
        (r#"{"a":1,}"#, Character, 7),
        (r#"{"a":1 "b":2}"#, Character, 7),
        ("[1}", Character, 2),
        ("// a\n1", Character, 0),
        ("\u{a0}1", Character, 0),
        ("\u{b}1", Character, 0),
        ("1 2", Trailing, 2),
        ("{}{}", Trailing, 2),
        ("nullnull", Trailing, 4),
        ("1\0", Trailing, 1),
        // Numbers.
        ("-", Number, 1),
        ("01", Number, 2),
        ("-01", Number, 3),
        ("00", Number, 2),
        ("1.", Number, 2),
        ("1.e1", Number, 2),
        ("1e", Number, 2),
        ("1e+", Number, 3),
        ("-a", Number, 1),
        ("0x1", Trailing, 1),
        // Strings.
        (r#""\a""#, Escape, 2),
        (r#""\"#, Escape, 2),
        (r#""\u12""#, Escape, 5),
        (r#""\u12g4""#, Escape, 5),
        (r#""\U0041""#, Escape, 2),
        ("\"a\nb\"", Control, 2),
        ("\"\0\"", Control, 1),
        ("\"12345678\u{1f}\"", Control, 9),
    ] {
        assert_eq!(read(text), Err(Refused { fault, at }), "{text:?}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn half_a_surrogate_pair_is_no_character() {
    for text in [
        r#""\ud834""#,
        r#""\udd1e""#,
        r#""\ud834\ud834""#,
        r#""\ud834x""#,
        r#""\ud834\n""#,
        r#""\ud834\u0041""#,
        r#""\udd1e\ud834""#,
    ] {
        assert_eq!(read(text).unwrap_err().fault, Escape, "{text}");
    }
    assert_eq!(read(r#""\uD834\uDD1E""#), Ok(Node::String("\u{1d11e}".into())));
}

#[wasm_bindgen_test(unsupported = test)]
fn bytes_that_are_no_utf8_are_refused_where_they_stand() {
    for (bytes, at) in [
        (&b"\"\xff\""[..], 1),
        (b"[\"\xc0\xaf\"]", 2),
        (b"\"\xed\xa0\x80\"", 1),
        (b"\"\xf0\x9d\x84\"", 1),
    ] {
        assert_eq!(parse(bytes, BOUNDS), Err(Refused { fault: Utf8, at }), "{bytes:?}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_key_twice_is_refused_however_it_is_written() {
    for (text, at) in [
        (r#"{"a":1,"a":1}"#, 7),
        (r#"{"a":1,"\u0061":2}"#, 7),
        (r#"{"b":1,"a":2,"c":3,"a":4,"b":5}"#, 19),
        (r#"{ "a" : [{"a":1}] , "a" : 2 }"#, 20),
        (r#"{"/":1,"\/":2}"#, 7),
        (r#"{"":1,"":2}"#, 6),
        (r#"[{"x":{"a":1,"a":2}}]"#, 13),
    ] {
        assert_eq!(read(text), Err(Refused { fault: DuplicateKey, at }), "{text}");
    }
    // The same name in another object, another case, or another composition is another key.
    for text in [r#"{"a":{"a":1}}"#, r#"{"a":1,"A":2}"#, "{\"\u{e9}\":1,\"e\u{301}\":2}"] {
        assert!(read(text).is_ok(), "{text}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn depth_is_bounded_exactly_and_without_recursion_beyond() {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    assert!(read(&nested(8)).is_ok());
    assert_eq!(read(&nested(9)), Err(Refused { fault: Depth, at: 8 }));
    for bomb in ["[".repeat(1 << 20), r#"{"a":"#.repeat(1 << 18), r#"[{"a":"#.repeat(1 << 18)] {
        assert_eq!(read(&bomb).unwrap_err().fault, Depth);
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn the_number_of_values_is_bounded_exactly() {
    let list = |items: usize| format!("[{}]", vec!["0"; items].join(","));
    assert!(read(&list(99)).is_ok());
    assert_eq!(read(&list(100)).unwrap_err().fault, Nodes);
    assert_eq!(parse(b"1", Bounds { depth_max: 0, nodes_max: 0 }).unwrap_err().fault, Nodes);
    assert!(parse(b"1", Bounds { depth_max: 0, nodes_max: 1 }).is_ok());
}

#[wasm_bindgen_test(unsupported = test)]
fn a_text_cut_anywhere_is_refused() {
    let whole = r#"{"model":"gpt-4o","n":-1.5e3,"a":[true,false,null,"\ud834\udd1e\n"],"é":{}}"#;
    assert!(read(whole).is_ok());
    for end in 0..whole.len() {
        assert!(parse(&whole.as_bytes()[..end], BOUNDS).is_err(), "{end}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_count_is_what_a_lenient_server_takes_it_for() {
    for (said, expected) in [
        ("3", Some(3)),
        ("3.0", Some(3)),
        ("1.28e2", Some(128)),
        ("2.1", Some(3)),
        ("\"3\"", Some(3)),
        ("1000.0e-1", Some(100)),
        ("1.05e1", Some(11)),
        ("0e999999999999", Some(0)),
        ("1e-999999999999", Some(1)),
        ("18446744073709551616", Some(u64::MAX)),
        ("1e300", Some(u64::MAX)),
        ("-1", None),
        ("\"three\"", None),
        ("null", None),
        ("[3]", None),
    ] {
        let node = read(said).unwrap();
        assert_eq!(node.as_count(), expected, "{said}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn values_are_found_by_name_and_kind() {
    let node = read(r#"{"b":2,"a":"x","c":[true],"big":18446744073709551616,"f":1.0}"#).unwrap();
    assert_eq!(node.field("a").and_then(Node::as_str), Some("x"));
    assert_eq!(node.field("b").and_then(Node::as_u64), Some(2));
    assert_eq!(node.field("c").and_then(Node::as_array), Some(&[Node::Bool(true)][..]));
    assert_eq!(node.field("big").and_then(Node::as_u64), None);
    assert_eq!(node.field("f").and_then(Node::as_u64), None);
    assert_eq!(node.field("d"), None);
    assert_eq!(node.as_object().map(<[_]>::len), Some(5));
}

#[wasm_bindgen_test(unsupported = test)]
fn equal_requests_have_one_canonical_form() {
    for (left, right) in [
        (r#"{"a":1,"b":2}"#, r#" { "b" : 2 , "a" : 1 } "#),
        (r#"["\u0061\/"]"#, r#"["a/"]"#),
        (r#"{"x":{"d":[],"c":{}}}"#, r#"{"x":{"c":{},"d":[]}}"#),
    ] {
        assert_eq!(canonical_bytes(left, &[]), canonical_bytes(right, &[]), "{left} {right}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn different_requests_have_different_canonical_forms() {
    let texts = [
        "1",
        "1.0",
        "1e0",
        "1E0",
        "\"1\"",
        "[1]",
        "[[1]]",
        "[1,1]",
        "{\"1\":1}",
        "0",
        "-0",
        "null",
        "true",
        "false",
        "\"null\"",
        "\"\"",
        "[]",
        "{}",
        "[\"\"]",
        "[null]",
        "[[],[]]",
        "[[[]]]",
        r#"["ab","c"]"#,
        r#"["a","bc"]"#,
        r#"{"a":"b"}"#,
        r#"["a","b"]"#,
        r#"{"a":{},"b":1}"#,
        r#"{"a":{"b":1}}"#,
        r#"["n"]"#,
        r#"{"ab":"c"}"#,
        r#"{"a":"bc"}"#,
        "\"\u{e9}\"",
        "\"e\u{301}\"",
    ];
    let mut forms: Vec<_> = texts.iter().map(|text| canonical_bytes(text, &[])).collect();
    forms.sort();
    forms.dedup();
    assert_eq!(forms.len(), texts.len());
}

#[wasm_bindgen_test(unsupported = test)]
fn fields_are_left_out_at_the_top_only() {
    let left_out = ["stream", "user"];
    let form = |text| canonical_bytes(text, &left_out);
    assert_eq!(form(r#"{"a":1,"stream":true,"user":"u"}"#), form(r#"{"a":1}"#));
    assert_ne!(form(r#"{"a":{"stream":true}}"#), form(r#"{"a":{}}"#));
    assert_ne!(form(r#"[{"stream":true}]"#), form("[{}]"));
}

/// `tests/fixtures/json`, as name and bytes.
fn suite() -> Vec<(String, Vec<u8>)> {
    let cases = include_str!("../../../tests/fixtures/json/cases.txt");
    let bytes = |hex: &str| {
        let (pairs, _) = hex.as_bytes().as_chunks::<2>();
        let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        pairs.iter().map(|pair| byte(pair)).collect()
    };
    let mut all: Vec<_> = cases
        .lines()
        .map(|line| line.split_once(' ').unwrap_or((line, "")))
        .map(|(name, hex)| (name.to_owned(), bytes(hex)))
        .collect();
    all.push(("n_100000_opening_arrays".to_owned(), vec![b'['; 100_000]));
    all.push(("n_open_array_object".to_owned(), br#"[{"":"#.repeat(50_000)));
    all
}

#[wasm_bindgen_test(unsupported = test)]
fn json_is_read_by_the_grammar_but_for_names_that_stand_twice() {
    let bounds = Bounds { depth_max: 64, nodes_max: 10_000 };
    let suite = suite();
    assert_eq!(suite.len(), 201);
    for (name, bytes) in suite {
        let read = parse(&bytes, bounds);
        match name.split_once('_').unwrap() {
            // Two readers take different ones of them for the value.
            ("y", rest) if rest.starts_with("object_duplicated_key") => {
                assert_eq!(read.unwrap_err().fault, DuplicateKey, "{name}");
            }
            ("y", _) => assert!(read.is_ok(), "{name}: {read:?}"),
            ("n", _) => assert!(read.is_err(), "{name}: {read:?}"),
            (kind, _) => assert_eq!(kind, "i", "{name}"),
        }
    }
}
