//! Canonical JSON: the strict reader agrees with serde_json wherever both accept and has a reason wherever it
//! alone refuses; the way a request is written never counts; the canonical form can be read back, so no two
//! requests share one.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use kt_contract::json::{self, Bounds, Fault, Node, Refused, canonical};
use kt_contract::key::OrgKeys;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::choices::Choices;

const BOUNDS: Bounds = Bounds { depth_max: 32, nodes_max: 500 };

/// What serde_json reads, nothing lost but the lexemes of numbers.
enum Tree {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

/// Takes any text.
pub fn check(text: &[u8]) {
    let read = json::parse(text, BOUNDS);
    match (read, serde_json::from_slice::<Tree>(text)) {
        (Ok(node), Ok(tree)) => {
            assert!(is_same(&node, &tree), "read otherwise than by serde_json");
            check_identity(&node, &mut Choices::of(text));
        }
        (Ok(node), Err(why)) => {
            // A number keeps its lexeme here, however large it is.
            assert!(why.to_string().starts_with("number out of range"), "{why}");
            check_identity(&node, &mut Choices::of(text));
        }
        (Err(Refused { fault, at }), other) => {
            assert!(at <= text.len());
            if let Ok(tree) = other {
                assert!(tree.deserves(fault), "{fault}");
            }
        }
    }
}

/// The digests do not depend on how the request is written, and tell it from every other.
fn check_identity(node: &Node<'_>, choices: &mut Choices) {
    let mut text = String::new();
    write(node, choices, &mut text);
    let again = json::parse(text.as_bytes(), BOUNDS).expect("written by this target");
    assert_eq!(&again, node, "{text}");

    let form = form(node, &[]);
    let mut rest = form.as_slice();
    assert_eq!(&read_form(&mut rest), node);
    assert!(rest.is_empty());

    let keys = OrgKeys::derive("acme");
    assert_eq!(keys.request_digests(&again, &[], &[]), keys.request_digests(node, &[], &[]));
    if let Node::Object(fields) = node
        && !fields.is_empty()
    {
        let mut without = fields.clone();
        let (name, _) = without.remove(choices.below(fields.len()));
        assert_eq!(self::form(&Node::Object(without), &[]), self::form(node, &[&name]));
    }
}

fn form(node: &Node<'_>, left_out: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    canonical(node, left_out, &mut |part| bytes.extend_from_slice(part));
    bytes
}

/// Reads the canonical form, as `docs/reference/cache-key.md` describes it.
fn read_form<'a>(rest: &mut &'a [u8]) -> Node<'a> {
    let (tag, after) = rest.split_first().unwrap();
    *rest = after;
    match tag {
        b'n' => Node::Null,
        b't' => Node::Bool(true),
        b'f' => Node::Bool(false),
        b'#' => Node::Number(read_text(rest)),
        b'"' => Node::String(Cow::Borrowed(read_text(rest))),
        b'[' => Node::Array((0..read_length(rest)).map(|_| read_form(rest)).collect()),
        b'{' => Node::Object(
            (0..read_length(rest))
                .map(|_| {
                    let (tag, after) = rest.split_first().unwrap();
                    assert_eq!(*tag, b'"');
                    *rest = after;
                    (Cow::Borrowed(read_text(rest)), read_form(rest))
                })
                .collect(),
        ),
        other => panic!("no tag: {other}"),
    }
}

fn read_length(rest: &mut &[u8]) -> usize {
    let (length, after) = rest.split_first_chunk::<8>().unwrap();
    *rest = after;
    usize::try_from(u64::from_be_bytes(*length)).unwrap()
}

fn read_text<'a>(rest: &mut &'a [u8]) -> &'a str {
    let length = read_length(rest);
    let (text, after) = rest.split_at(length);
    *rest = after;
    std::str::from_utf8(text).unwrap()
}

fn is_same(node: &Node<'_>, tree: &Tree) -> bool {
    match (node, tree) {
        (Node::Null, Tree::Null) => true,
        (Node::Bool(one), Tree::Bool(other)) => one == other,
        (Node::Number(lexeme), Tree::Number(number)) => {
            // serde_json may miss the nearest number by a unit in the last place.
            lexeme.parse::<f64>().is_ok_and(|exact| {
                exact == *number || (exact - number).abs() <= exact.abs() * f64::EPSILON * 2.0
            })
        }
        (Node::String(one), Tree::Text(other)) => one == other,
        (Node::Array(ours), Tree::List(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| is_same(a, b))
        }
        (Node::Object(ours), Tree::Map(theirs)) => {
            let mut theirs: Vec<_> = theirs.iter().collect();
            theirs.sort_by(|(one, _), (other, _)| one.cmp(other));
            let is_same_field = |((name, value), (other, tree)): (&(Cow<'_, str>, Node<'_>), _)| {
                let other: &String = other;
                name == other && is_same(value, tree)
            };
            let pairs = theirs.iter().map(|(name, value)| (name, value));
            ours.len() == theirs.len() && ours.iter().zip(pairs).all(is_same_field)
        }
        (
            Node::Null
            | Node::Bool(_)
            | Node::Number(_)
            | Node::String(_)
            | Node::Array(_)
            | Node::Object(_),
            _,
        ) => false,
    }
}

/// Writes a value with an order of fields, spaces and escapes of its own.
fn write(node: &Node<'_>, choices: &mut Choices, text: &mut String) {
    space(choices, text);
    match node {
        Node::Null => text.push_str("null"),
        Node::Bool(truth) => text.push_str(if *truth { "true" } else { "false" }),
        Node::Number(lexeme) => text.push_str(lexeme),
        Node::String(value) => quote(value, choices, text),
        Node::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { "," });
                write(item, choices, text);
            }
            text.push(']');
        }
        Node::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            for at in (1..fields.len()).rev() {
                fields.swap(at, choices.below(at + 1));
            }
            text.push('{');
            for (at, (name, value)) in fields.into_iter().enumerate() {
                text.push_str(if at == 0 { "" } else { "," });
                space(choices, text);
                quote(name, choices, text);
                space(choices, text);
                text.push(':');
                write(value, choices, text);
            }
            text.push('}');
        }
    }
    space(choices, text);
}

fn space(choices: &mut Choices, text: &mut String) {
    text.push_str(["", "", "", " ", "\n", "\t\r\n "][choices.below(6)]);
}

fn quote(value: &str, choices: &mut Choices, text: &mut String) {
    text.push('"');
    for char in value.chars() {
        if matches!(char, '"' | '\\') || char < ' ' || choices.below(8) == 0 {
            for unit in char.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04X}"));
            }
        } else {
            text.push(char);
        }
    }
    text.push('"');
}

// === impl Tree ===

impl Tree {
    /// Whether the strict reader may refuse this, which serde_json has read, for `fault`.
    fn deserves(&self, fault: Fault) -> bool {
        match fault {
            Fault::DuplicateKey => self.has_duplicate(),
            Fault::Depth => self.depth() > BOUNDS.depth_max,
            Fault::Nodes => self.count() > BOUNDS.nodes_max,
            Fault::Utf8
            | Fault::End
            | Fault::Character
            | Fault::Number
            | Fault::Escape
            | Fault::Control
            | Fault::Trailing => false,
        }
    }

    fn inner(&self) -> Box<dyn Iterator<Item = &Self> + '_> {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => {
                Box::new(std::iter::empty())
            }
            Self::List(items) => Box::new(items.iter()),
            Self::Map(fields) => Box::new(fields.iter().map(|(_, value)| value)),
        }
    }

    fn has_duplicate(&self) -> bool {
        let is_here = if let Self::Map(fields) = self {
            let names: BTreeSet<_> = fields.iter().map(|(name, _)| name).collect();
            names.len() < fields.len()
        } else {
            false
        };
        is_here || self.inner().any(Self::has_duplicate)
    }

    fn depth(&self) -> usize {
        let is_nest = usize::from(matches!(self, Self::List(_) | Self::Map(_)));
        is_nest + self.inner().map(Self::depth).max().unwrap_or(0)
    }

    fn count(&self) -> usize {
        1 + self.inner().map(Self::count).sum::<usize>()
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Grower)
    }
}

struct Grower;

impl<'de> Visitor<'de> for Grower {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(truth))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
        Ok(Tree::Number(number as f64))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
        Ok(Tree::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Tree, E> {
        Ok(Tree::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Tree, A::Error> {
        let mut map = Vec::new();
        while let Some(field) = fields.next_entry()? {
            map.push(field);
        }
        Ok(Tree::Map(map))
    }
}
