//! What the sidecar says, told apart from what Envoy says for a sidecar that is lost.

use kt_contract::wire::admit::Admitted;
use kt_contract::wire::principal::PrincipalReply;
use kt_contract::wire::{VERSION, headers};

use crate::event::Answer;
use crate::head::Head;

/// Why an answer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// Nothing came, or Envoy spoke.
    Lost,
    /// A sidecar spoke, of another version or in words that cannot be read. As good as lost, and counted.
    Unreadable,
}

/// The reply of a sidecar of this version, with status 200.
///
/// # Errors
/// Why there is none.
pub fn spoken(answer: Answer<'_>) -> Result<(Head<'_>, &[u8]), NoAnswer> {
    match answer {
        Answer::Lost => Err(NoAnswer::Lost),
        Answer::Came { head, body } => {
            let marker = head.first(headers::MARKER).ok_or(NoAnswer::Lost)?;
            let version = std::str::from_utf8(marker).ok().and_then(|text| text.parse().ok());
            if version == Some(VERSION) && head.first(":status") == Some(b"200") {
                Ok((head, body))
            } else {
                Err(NoAnswer::Unreadable)
            }
        }
    }
}

/// The reply to a principal lookup.
///
/// # Errors
/// Why there is none.
pub fn principal(answer: Answer<'_>) -> Result<PrincipalReply, NoAnswer> {
    let (_, body) = spoken(answer)?;
    serde_json::from_slice(body).map_err(|_| NoAnswer::Unreadable)
}

/// The reply to an admit callout: the decision, and the body of an inline hit.
///
/// # Errors
/// Why there is none.
pub fn admitted(answer: Answer<'_>) -> Result<(Admitted, &[u8]), NoAnswer> {
    let (head, body) = spoken(answer)?;
    let decision = head.first(headers::ADMIT).ok_or(NoAnswer::Unreadable)?;
    let decision = serde_json::from_slice(decision).map_err(|_| NoAnswer::Unreadable)?;
    Ok((decision, body))
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn answer<'a>(fields: &'a [(&'a [u8], &'a [u8])]) -> Answer<'a> {
        Answer::Came { head: Head::new(fields), body: b"{}" }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn without_the_marker_envoy_spoke() {
        assert_eq!(spoken(Answer::Lost).unwrap_err(), NoAnswer::Lost);
        assert_eq!(spoken(answer(&[(b":status", b"200")])).unwrap_err(), NoAnswer::Lost);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn another_version_or_status_is_no_answer() {
        let [older, this, newer] =
            [VERSION - 1, VERSION, VERSION + 1].map(|version| version.to_string().into_bytes());
        for fields in [
            [(&b":status"[..], &b"200"[..]), (b"x-kt-wire", &older)],
            [(b":status", b"200"), (b"x-kt-wire", &newer)],
            [(b":status", b"200"), (b"x-kt-wire", b"\xff")],
            [(b":status", b"400"), (b"x-kt-wire", &this)],
        ] {
            assert_eq!(spoken(answer(&fields)).unwrap_err(), NoAnswer::Unreadable, "{fields:?}");
        }
        assert!(spoken(answer(&[(b":status", b"200"), (b"x-kt-wire", &this)])).is_ok());
    }
}
