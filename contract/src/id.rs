//! The names of tenants and of what belongs to them: organizations, teams, users, agents, groups, codebases,
//! entitlements. They stand in headers, logs and reports, so what may be in one is narrow.

/// The most characters of an id.
pub const ID_CHARS_MAX: usize = 128;

/// What an id may hold beside ASCII letters and digits; `#` is for branches of codebases.
const MARKS: &[u8] = b"._:/@+-#";

/// Why a text is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{field}' {what}")]
pub struct BadId {
    /// The field that it stands in.
    pub field: &'static str,
    /// What it must be.
    pub what: &'static str,
}

/// Whether `text` may be an id.
///
/// # Errors
/// It is empty, too long, or has another character than those of ids. The text is not repeated.
pub fn check_id(field: &'static str, text: &str) -> Result<(), BadId> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || MARKS.contains(&byte);
    let what = if text.is_empty() {
        "must not be empty"
    } else if !text.bytes().all(is_good) {
        "may have ASCII letters, digits and . _ : / @ + - # only"
    } else if text.len() > ID_CHARS_MAX {
        "must not be longer than 128 characters"
    } else {
        return Ok(());
    };
    Err(BadId { field, what })
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn names_of_tenants_and_of_codebases_are_ids() {
        let longest = "x".repeat(128);
        for text in ["a", "acme", "ada@acme.com", "github.com/acme/web#main", "a:b+c_d-1", &longest]
        {
            assert_eq!(check_id("org", text), Ok(()), "{text}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_is_no_id_is_refused_with_its_field() {
        let long = "x".repeat(129);
        for (text, what) in [
            ("", "must not be empty"),
            ("bad org!", "may have ASCII letters, digits and . _ : / @ + - # only"),
            (" acme", "may have ASCII letters, digits and . _ : / @ + - # only"),
            ("acme ", "may have ASCII letters, digits and . _ : / @ + - # only"),
            ("a\nb", "may have ASCII letters, digits and . _ : / @ + - # only"),
            ("\u{e9}", "may have ASCII letters, digits and . _ : / @ + - # only"),
            (&long, "must not be longer than 128 characters"),
        ] {
            let refused = check_id("team", text).unwrap_err();
            assert_eq!(refused.to_string(), format!("'team' {what}"), "{text:?}");
        }
    }
}
