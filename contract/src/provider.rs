//! The providers that targets may name, and how each wants to be called. A closed set: what is not in it is
//! called by nobody.

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provider {
    /// OpenAI, or a server that speaks as it does.
    OpenAi,
    /// OpenAI's models in a resource of Azure.
    Azure,
    /// Anthropic.
    Anthropic,
}

/// The header that carries a provider's credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialHeader {
    /// Its name, in lower case.
    pub name: &'static str,
    /// What stands before the credential in its value.
    pub prefix: &'static str,
}

// === impl Provider ===

impl Provider {
    /// Every provider.
    pub const ALL: &[Self] = &[Self::OpenAi, Self::Azure, Self::Anthropic];

    /// The word in the configuration, in the model gate and in metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Azure => "azure",
            Self::Anthropic => "anthropic",
        }
    }

    /// The provider of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|provider| provider.as_str() == name)
    }

    /// Where its credential goes. Envoy puts it there, on the way out.
    #[must_use]
    pub const fn credential_header(self) -> CredentialHeader {
        match self {
            Self::OpenAi => CredentialHeader { name: "authorization", prefix: "Bearer " },
            Self::Azure => CredentialHeader { name: "api-key", prefix: "" },
            Self::Anthropic => CredentialHeader { name: "x-api-key", prefix: "" },
        }
    }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn a_provider_is_found_by_its_name_and_by_no_other() {
        for provider in Provider::ALL {
            assert_eq!(Provider::named(provider.as_str()), Some(*provider));
        }
        for other in ["", "OpenAI", "google", "local", "openai "] {
            assert_eq!(Provider::named(other), None, "{other}");
        }
    }
}
