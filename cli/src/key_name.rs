//! A key's public name as somebody typed it. Who types the key itself instead is told so, and nothing here or in
//! [`crate::report`] ever repeats it: terminals are recorded, and standard error ends up in logs.

use std::borrow::Cow;

use kt_contract::gateway_key::PREFIX;
use kt_contract::identity::{is_plain, is_spiffe_id};

use crate::failure::Failure;

/// What every public name begins with.
const NAME_PREFIX: &str = "gk_";
/// Above every public name, and below a key whose beginning got lost on the way.
const NAME_BYTES_MAX: usize = 32;

/// The public name, fit for a path.
///
/// # Errors
/// It is none. What was typed is not repeated: it may be a secret, or part of one.
pub(crate) fn public(typed: &str) -> Result<&str, Failure> {
    if typed.contains(PREFIX) {
        return Err(Failure::new(format!(
            "that is the secret; `kt key list` has its public name ({NAME_PREFIX}…)"
        )));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let good = typed.strip_prefix(NAME_PREFIX).is_some_and(|rest| !rest.is_empty())
        && typed.len() <= NAME_BYTES_MAX
        && typed.bytes().all(plain);
    match good {
        true => Ok(typed),
        false => Err(Failure::new("that is no public name of a key")
            .hint(format!("`kt key list` shows them: {NAME_PREFIX}…"))),
    }
}

/// The public name of a key, or the name of a verified identity as logs have it.
///
/// # Errors
/// It is neither. What was typed is not repeated.
pub(crate) fn caller(typed: &str) -> Result<&str, Failure> {
    let is_token = typed.strip_prefix("jwt:").is_some_and(is_plain) && !typed.contains(PREFIX);
    if is_spiffe_id(typed) || is_token { Ok(typed) } else { public(typed) }
}

/// The text with every gateway key in it cut off behind the part that all of them have.
pub(crate) fn without_keys(text: &str) -> Cow<'_, str> {
    let mut pieces = text.split(PREFIX);
    let Some(first) = pieces.next().filter(|first| first.len() < text.len()) else {
        return Cow::Borrowed(text);
    };
    let mut cut = first.to_owned();
    for piece in pieces {
        cut.push_str(PREFIX);
        let rest = piece.trim_start_matches(|it: char| it.is_ascii_alphanumeric());
        if rest.len() < piece.len() {
            cut.push('…');
        }
        cut.push_str(rest);
    }
    Cow::Owned(cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdefghijABCDEFGHIJ01234567";

    #[test]
    fn a_public_name_is_taken_as_it_is() {
        assert_eq!(public("gk_0123456789abcdef").unwrap(), "gk_0123456789abcdef");
    }

    #[test]
    fn an_identity_is_a_name_too() {
        for name in
            ["spiffe://td/ns/agents/sa/a", "jwt:https://id.example#ada", "gk_0123456789abcdef"]
        {
            assert_eq!(caller(name).unwrap(), name);
        }
        for typed in ["spiffe://td", "jwt:", "jwt:a b", "ada", &format!("jwt:kt_gk_{SECRET}")] {
            assert!(caller(typed).is_err(), "{typed}");
        }
    }

    #[test]
    fn the_key_itself_is_refused_and_not_repeated() {
        for typed in [
            format!("kt_gk_{SECRET}"),
            format!("Bearer kt_gk_{SECRET}"),
            format!("kt_gk_{SECRET}\n"),
            "kt_gk_0123".to_owned(),
        ] {
            let said = public(&typed).unwrap_err().to_string();
            assert!(
                said.contains("that is the secret; `kt key list` has its public name"),
                "{said}"
            );
            assert!(!said.contains("0123"), "{said}");
        }
    }

    #[test]
    fn what_may_be_part_of_a_key_is_not_repeated_either() {
        for typed in [format!("gk_{SECRET}"), SECRET.to_owned(), "gk_0123/../x".to_owned()] {
            let said = public(&typed).unwrap_err().to_string();
            assert!(said.contains("no public name") && !said.contains("0123"), "{said}");
        }
        assert!(public("").is_err() && public("gk_").is_err());
    }

    #[test]
    fn a_text_loses_every_key_in_it_and_nothing_else() {
        for (text, cut) in [
            ("no key 'kt_gk_a1B2' here".to_owned(), "no key 'kt_gk_…' here"),
            (format!("kt_gk_{SECRET} kt_gk_{SECRET}, kt_gk_x"), "kt_gk_… kt_gk_…, kt_gk_…"),
            (
                "a key begins with kt_gk_; gk_12 is a name".to_owned(),
                "a key begins with kt_gk_; gk_12 is a name",
            ),
            ("nothing".to_owned(), "nothing"),
        ] {
            assert_eq!(without_keys(&text), cut);
        }
    }
}
