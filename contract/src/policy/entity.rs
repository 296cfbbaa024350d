//! What detectors find, as a closed set: the names in the configuration, in logs, and in the place of what was found.

use serde::{Deserialize, Serialize};

/// A kind of thing that is found in texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entity {
    /// An e-mail address.
    Email,
    /// A phone number.
    Phone,
    /// The number of a payment card.
    CreditCard,
    /// An international bank account number (ISO 13616).
    Iban,
    /// The number under which a state knows a person.
    NationalId,
    /// An IPv4 or IPv6 address.
    IpAddress,
    /// A key that a vendor issues to a program: whatever has a vendor's prefix, also where the vendor calls it a token
    /// (`ghp_`, `glpat-`, `xoxb-`, `npm_`, `pypi-`, `hf_`), and what is given to a name such as `api_key`.
    ApiKey,
    /// A token that lets its bearer in for a while: JSON web tokens, what follows `Bearer`, and access and refresh tokens
    /// of OAuth (`ya29.`, `1//`).
    AccessToken,
    /// A private key (PEM).
    PrivateKey,
    /// A password that stands beside its name, or in a URL.
    Password,
}

/// Which policy looks for a kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Personal data: `pii-detector`.
    Pii,
    /// Credentials: `secret-detector`.
    Secret,
}

// === impl Entity ===

impl Entity {
    /// Every kind, in the order of [`Ord`].
    pub const ALL: [Self; 10] = [
        Self::Email,
        Self::Phone,
        Self::CreditCard,
        Self::Iban,
        Self::NationalId,
        Self::IpAddress,
        Self::ApiKey,
        Self::AccessToken,
        Self::PrivateKey,
        Self::Password,
    ];

    /// The word in configuration, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::CreditCard => "credit-card",
            Self::Iban => "iban",
            Self::NationalId => "national-id",
            Self::IpAddress => "ip-address",
            Self::ApiKey => "api-key",
            Self::AccessToken => "access-token",
            Self::PrivateKey => "private-key",
            Self::Password => "password",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|entity| entity.as_str() == name)
    }

    /// What stands in the place of one that was redacted: ASCII that JSON needs not escape, and in which no detector
    /// finds anything.
    #[must_use]
    pub const fn placeholder(self) -> &'static str {
        match self {
            Self::Email => "[EMAIL]",
            Self::Phone => "[PHONE]",
            Self::CreditCard => "[CREDIT_CARD]",
            Self::Iban => "[IBAN]",
            Self::NationalId => "[NATIONAL_ID]",
            Self::IpAddress => "[IP_ADDRESS]",
            Self::ApiKey => "[API_KEY]",
            Self::AccessToken => "[ACCESS_TOKEN]",
            Self::PrivateKey => "[PRIVATE_KEY]",
            Self::Password => "[PASSWORD]",
        }
    }

    /// Which policy looks for it.
    #[must_use]
    pub const fn family(self) -> Family {
        match self {
            Self::Email
            | Self::Phone
            | Self::CreditCard
            | Self::Iban
            | Self::NationalId
            | Self::IpAddress => Family::Pii,
            Self::ApiKey | Self::AccessToken | Self::PrivateKey | Self::Password => Family::Secret,
        }
    }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn every_kind_has_its_word_on_the_wire_too() {
        for (at, entity) in Entity::ALL.iter().enumerate() {
            assert_eq!(*entity as usize, at);
            let wire = serde_json::to_string(entity).unwrap();
            assert_eq!(wire, format!("\"{}\"", entity.as_str()));
            assert_eq!(Entity::parse(entity.as_str()), Some(*entity));
            let shouted = entity.as_str().to_uppercase().replace('-', "_");
            assert_eq!(entity.placeholder(), format!("[{shouted}]"));
        }
    }
}
