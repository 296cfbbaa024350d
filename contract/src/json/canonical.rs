//! The canonical form: not JSON, but an unambiguous sequence of tagged, length-prefixed parts for a hash.

use super::Node;

/// Emits the canonical form of `node`. Of the outermost object, the fields named in `left_out` are skipped;
/// the same names further down are kept.
pub fn canonical(node: &Node<'_>, left_out: &[&str], put: &mut impl FnMut(&[u8])) {
    if let Node::Object(fields) = node {
        let kept = fields.iter().filter(|(name, _)| !left_out.contains(&name.as_ref()));
        head(b'{', kept.clone().count(), put);
        for (name, value) in kept {
            text(b'"', name, put);
            emit(value, put);
        }
    } else {
        emit(node, put);
    }
}

// The reader has bounded the depth, so recursion is bounded too.
fn emit(node: &Node<'_>, put: &mut impl FnMut(&[u8])) {
    match node {
        Node::Null => put(b"n"),
        Node::Bool(true) => put(b"t"),
        Node::Bool(false) => put(b"f"),
        Node::Number(lexeme) => text(b'#', lexeme, put),
        Node::String(value) => text(b'"', value, put),
        Node::Array(items) => {
            head(b'[', items.len(), put);
            for item in items {
                emit(item, put);
            }
        }
        Node::Object(fields) => {
            head(b'{', fields.len(), put);
            for (name, value) in fields {
                text(b'"', name, put);
                emit(value, put);
            }
        }
    }
}

fn text(tag: u8, value: &str, put: &mut impl FnMut(&[u8])) {
    head(tag, value.len(), put);
    put(value.as_bytes());
}

/// A tag, and the number of what follows: fields, items or bytes.
fn head(tag: u8, length: usize, put: &mut impl FnMut(&[u8])) {
    let [a, b, c, d, e, f, g, h] = (length as u64).to_be_bytes();
    put(&[tag, a, b, c, d, e, f, g, h]);
}
