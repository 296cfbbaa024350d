//! What must hold of the key for every request, not only for those that somebody thought of.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::json::{Bounds, parse};
use crate::key::{OrgKeys, RequestDigests};

const BOUNDS: Bounds = Bounds { depth_max: 64, nodes_max: 10_000 };

/// A request, before somebody chose how to write it down.
#[derive(Clone, Debug, PartialEq)]
enum Tree {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Self>),
    Map(BTreeMap<String, Self>),
}

/// Writes a tree with the order of keys, the spaces and the escapes that its bytes say.
struct Scribe<'a> {
    taste: std::iter::Cycle<std::slice::Iter<'a, u8>>,
    text: String,
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::Bool),
        "-?(0|[1-9][0-9]{0,5})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?".prop_map(Tree::Number),
        ".{0,12}".prop_map(Tree::Text),
        "\\PC{0,40}".prop_map(Tree::Text),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Tree::List),
            proptest::collection::btree_map(".{0,6}", inner, 0..6).prop_map(Tree::Map),
        ]
    })
}

/// Trees so small and so much alike that a form with a gap would mistake one for another.
fn sapling() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        "[01]{1}".prop_map(Tree::Number),
        "[n01\"]{0,2}".prop_map(Tree::Text),
    ];
    leaf.prop_recursive(2, 4, 2, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Tree::List),
            proptest::collection::btree_map("[n0]{0,1}", inner, 0..2).prop_map(Tree::Map),
        ]
    })
}

fn taste() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 1..64)
}

fn digests(text: &str) -> RequestDigests {
    let node = parse(text.as_bytes(), BOUNDS).unwrap();
    OrgKeys::derive("acme").request_digests(&node, &[], &[])
}

fn written(tree: &Tree, taste: &[u8]) -> String {
    let mut scribe = Scribe { taste: taste.iter().cycle(), text: String::new() };
    scribe.write(tree);
    scribe.space();
    scribe.text
}

/// The number of leaves, empty lists and maps among them.
fn leaves(tree: &Tree) -> usize {
    match tree {
        Tree::Null | Tree::Bool(_) | Tree::Number(_) | Tree::Text(_) => 1,
        Tree::List(items) => items.iter().map(leaves).sum::<usize>().max(1),
        Tree::Map(fields) => fields.values().map(leaves).sum::<usize>().max(1),
    }
}

/// Changes the leaf at `at`, counted from the left.
fn change(tree: &mut Tree, mut at: usize) {
    let inner: Vec<&mut Tree> = match tree {
        Tree::Null => return *tree = Tree::Bool(false),
        Tree::Bool(truth) => return *truth = !*truth,
        Tree::Number(lexeme) => {
            return lexeme.insert(usize::from(lexeme.starts_with('-')), '1');
        }
        Tree::Text(text) => return text.push('x'),
        Tree::List(items) if items.is_empty() => return items.push(Tree::Null),
        Tree::Map(fields) if fields.is_empty() => {
            fields.insert("x".to_owned(), Tree::Null);
            return;
        }
        Tree::List(items) => items.iter_mut().collect(),
        Tree::Map(fields) => fields.values_mut().collect(),
    };
    for tree in inner {
        let here = leaves(tree);
        if at < here {
            return change(tree, at);
        }
        at -= here;
    }
}

// === impl Scribe ===

impl Scribe<'_> {
    fn choose(&mut self, among: usize) -> usize {
        usize::from(*self.taste.next().unwrap()) % among
    }

    fn space(&mut self) {
        let space = ["", "", " ", "\n", "\t \r\n"][self.choose(5)];
        self.text.push_str(space);
    }

    fn write(&mut self, tree: &Tree) {
        self.space();
        match tree {
            Tree::Null => self.text.push_str("null"),
            Tree::Bool(truth) => self.text.push_str(if *truth { "true" } else { "false" }),
            Tree::Number(lexeme) => self.text.push_str(lexeme),
            Tree::Text(text) => self.quote(text),
            Tree::List(items) => {
                self.text.push('[');
                for (at, item) in items.iter().enumerate() {
                    self.comma(at);
                    self.write(item);
                }
                self.space();
                self.text.push(']');
            }
            Tree::Map(fields) => {
                let mut fields: Vec<_> = fields.iter().collect();
                let (turn, back) = (self.choose(fields.len().max(1)), self.choose(2) == 1);
                fields.rotate_left(turn);
                if back {
                    fields.reverse();
                }
                self.text.push('{');
                for (at, (name, value)) in fields.into_iter().enumerate() {
                    self.comma(at);
                    self.space();
                    self.quote(name);
                    self.space();
                    self.text.push(':');
                    self.write(value);
                }
                self.space();
                self.text.push('}');
            }
        }
    }

    fn comma(&mut self, at: usize) {
        if at > 0 {
            self.space();
            self.text.push(',');
        }
    }

    fn quote(&mut self, text: &str) {
        self.text.push('"');
        for char in text.chars() {
            let must = matches!(char, '"' | '\\') || char < ' ';
            if must || self.choose(4) == 0 {
                let mut units = [0; 2];
                for unit in char.encode_utf16(&mut units) {
                    self.text.push_str(&format!("\\u{unit:04x}"));
                }
            } else {
                self.text.push(char);
            }
        }
        self.text.push('"');
    }
}

proptest! {
    #[test]
    fn the_way_a_request_is_written_does_not_count(tree in tree(), one in taste(), other in taste()) {
        prop_assert_eq!(digests(&written(&tree, &one)), digests(&written(&tree, &other)));
    }

    #[test]
    fn only_equal_requests_have_equal_digests(one in sapling(), other in sapling(), taste in taste()) {
        let (ours, theirs) = (digests(&written(&one, &taste)), digests(&written(&other, &taste)));
        prop_assert_eq!(ours.digest == theirs.digest, one == other);
        prop_assert_eq!(ours.check == theirs.check, one == other);
    }

    #[test]
    fn every_leaf_of_a_request_counts(tree in tree(), at in any::<prop::sample::Index>(), taste in taste()) {
        let before = digests(&written(&tree, &taste));
        let mut changed = tree.clone();
        change(&mut changed, at.index(leaves(&tree)));
        let after = digests(&written(&changed, &taste));
        prop_assert_ne!(before.digest, after.digest);
        prop_assert_ne!(before.check, after.check);
    }

    #[test]
    fn what_is_read_is_what_another_reader_reads(tree in tree(), taste in taste()) {
        let text = written(&tree, &taste);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes, BOUNDS);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[\\[\\]{}\",:\\\\u0-9a-fA-F.+\\-entrlsé ]{0,80}") {
        let read = parse(text.as_bytes(), BOUNDS);
        // Whoever accepts more than a general reader would forward what nobody can read.
        if read.is_ok() {
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok(), "{}", text);
        }
    }

    #[cfg(feature = "config")]
    #[test]
    fn no_text_makes_the_configuration_panic(text in "([a-z_]{1,8}|: |- |\n|  |\\[|\\]|\\{|\\}|\"|'|&a|\\*a|!t|#|0|1e9|\\||>){0,40}") {
        let _ = crate::config::load("f.yaml", &text);
    }
}
