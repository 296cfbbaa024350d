//! Names by which a question that must not be answered twice is told from all others.

use std::io;

use kt_contract::hex::Digest;

use crate::failure::Failure;

/// A name that nobody has used.
pub(crate) fn new_key() -> Result<String, Failure> {
    let mut key = [0; 32];
    let failed = |error: io::Error| Failure::new(format!("no randomness: {error}"));
    // Up to 256 bytes come at once.
    rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| failed(error.into()))?;
    Ok(Digest(key).to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_invocations_have_one_key() {
        assert_ne!(new_key().unwrap(), new_key().unwrap());
    }
}
