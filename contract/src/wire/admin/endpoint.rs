//! What can be asked on the admin socket: one list, from which the sidecar routes and the OpenAPI description is
//! made.

/// The ledger's audit. An organization of this name is asked for as `%61udit`.
const PATH_AUDIT: &str = "/v1/wallet/audit";

/// A question of the admin API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// How the sidecar is.
    Status,
    /// What can be asked here, for programs.
    OpenApi,
    /// Which versions of the configuration there were.
    ConfigVersions,
    /// The text of one of them.
    ConfigVersion,
    /// Another configuration, in the place of the one that runs.
    ApplyConfig,
    /// The way back to an earlier one.
    RollbackConfig,
    /// All gateway keys.
    ListKeys,
    /// A new gateway key.
    CreateKey,
    /// The end of a gateway key.
    RevokeKey,
    /// Another key in the place of one.
    RotateKey,
    /// What the cache would do for a request.
    Explain,
    /// What the cache holds.
    CacheStats,
    /// One entry of it.
    CacheEntry,
    /// What is not to be served any more.
    Invalidate,
    /// A count of everything that the ledger holds.
    Audit,
    /// What the last one found.
    LastAudit,
    /// How a wallet stands.
    WalletBalance,
    /// Money for a wallet.
    WalletFund,
    /// A correction of a wallet.
    WalletAdjust,
    /// Money for the purse of a team, or back from it.
    WalletAllocate,
    /// Something of a charge, given back.
    WalletRefund,
    /// A stop for a wallet.
    WalletFreeze,
    /// Its end.
    WalletUnfreeze,
    /// A wallet's transfers, newest first.
    WalletHistory,
    /// A wallet's transfers, oldest first.
    WalletExport,
    /// What is set aside from a wallet.
    WalletHolds,
    /// What calls were charged, and what the cache saved.
    Savings,
    /// The newest record of every chain of the audit log.
    AuditHeads,
    /// Whether the audit log holds.
    AuditVerify,
    /// An organization's records in the audit log, oldest first.
    AuditRecords,
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// An endpoint, and what the path has where its pattern has a name. Not decoded.
    Endpoint(Endpoint, Option<&'a str>),
    /// Something that takes another method.
    WrongMethod,
    /// Nothing.
    Nothing,
}

// === impl Endpoint ===

impl Endpoint {
    /// All of them. A fixed path stands before a pattern that would take it.
    pub const ALL: [Self; 30] = [
        Self::Status,
        Self::OpenApi,
        Self::ConfigVersions,
        Self::ConfigVersion,
        Self::ApplyConfig,
        Self::RollbackConfig,
        Self::ListKeys,
        Self::CreateKey,
        Self::RevokeKey,
        Self::RotateKey,
        Self::Explain,
        Self::CacheStats,
        Self::CacheEntry,
        Self::Invalidate,
        Self::Audit,
        Self::LastAudit,
        Self::WalletBalance,
        Self::WalletFund,
        Self::WalletAdjust,
        Self::WalletAllocate,
        Self::WalletRefund,
        Self::WalletFreeze,
        Self::WalletUnfreeze,
        Self::WalletHistory,
        Self::WalletExport,
        Self::WalletHolds,
        Self::Savings,
        Self::AuditHeads,
        Self::AuditVerify,
        Self::AuditRecords,
    ];

    /// Its method and its path; a name in braces stands for one segment.
    #[must_use]
    pub const fn pattern(self) -> (&'static str, &'static str) {
        match self {
            Self::Status => ("GET", super::PATH_STATUS),
            Self::OpenApi => ("GET", "/openapi.json"),
            Self::ConfigVersions => ("GET", super::PATH_CONFIG),
            Self::ConfigVersion => ("GET", "/v1/config/{version}"),
            Self::ApplyConfig => ("POST", super::PATH_CONFIG),
            Self::RollbackConfig => ("POST", super::PATH_ROLLBACK),
            Self::ListKeys => ("GET", super::PATH_KEYS),
            Self::CreateKey => ("POST", super::PATH_KEYS),
            Self::RevokeKey => ("POST", "/v1/keys/{key_id}/revoke"),
            Self::RotateKey => ("POST", "/v1/keys/{key_id}/rotate"),
            Self::Explain => ("POST", super::PATH_EXPLAIN),
            Self::CacheStats => ("GET", super::PATH_STATS),
            Self::CacheEntry => ("POST", super::PATH_ENTRY),
            Self::Invalidate => ("POST", super::PATH_INVALIDATE),
            Self::Audit => ("POST", PATH_AUDIT),
            Self::LastAudit => ("GET", PATH_AUDIT),
            Self::WalletBalance => ("GET", "/v1/wallet/{org}"),
            Self::WalletFund => ("POST", "/v1/wallet/{org}/fund"),
            Self::WalletAdjust => ("POST", "/v1/wallet/{org}/adjust"),
            Self::WalletAllocate => ("POST", "/v1/wallet/{org}/allocate"),
            Self::WalletRefund => ("POST", "/v1/wallet/{org}/refund"),
            Self::WalletFreeze => ("POST", "/v1/wallet/{org}/freeze"),
            Self::WalletUnfreeze => ("POST", "/v1/wallet/{org}/unfreeze"),
            Self::WalletHistory => ("GET", "/v1/wallet/{org}/history"),
            Self::WalletExport => ("GET", "/v1/wallet/{org}/export"),
            Self::WalletHolds => ("GET", "/v1/wallet/{org}/holds"),
            Self::Savings => ("GET", "/v1/savings"),
            Self::AuditHeads => ("GET", "/v1/audit-log"),
            Self::AuditVerify => ("POST", "/v1/audit-log/verify"),
            Self::AuditRecords => ("GET", "/v1/audit-log/records"),
        }
    }

    /// What stands at `path`.
    #[must_use]
    pub fn find<'a>(method: &str, path: &'a str) -> Found<'a> {
        let mut found = Found::Nothing;
        for endpoint in Self::ALL {
            let (takes, pattern) = endpoint.pattern();
            match named(pattern, path) {
                Some(name) if takes == method => return Found::Endpoint(endpoint, name),
                Some(_) => found = Found::WrongMethod,
                None => {}
            }
        }
        found
    }

    /// Its path, with `name` where the pattern has a name. Encoded already.
    #[must_use]
    pub fn path(self, name: &str) -> String {
        let (_, pattern) = self.pattern();
        match (pattern.split_once('{'), pattern.split_once('}')) {
            (Some((before, _)), Some((_, after))) => format!("{before}{name}{after}"),
            (None, _) | (_, None) => pattern.to_owned(),
        }
    }
}

/// What `path` has in the place of a pattern's name, if it is of the pattern.
fn named<'a>(pattern: &str, path: &'a str) -> Option<Option<&'a str>> {
    let mut name = None;
    let mut segments = path.split('/');
    for expected in pattern.split('/') {
        let segment = segments.next()?;
        if expected.starts_with('{') && !segment.is_empty() {
            name = Some(segment);
        } else if segment != expected {
            return None;
        }
    }
    segments.next().is_none().then_some(name)
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn every_endpoint_is_found_at_its_own_path_and_method() {
        for endpoint in Endpoint::ALL {
            let (method, pattern) = endpoint.pattern();
            let path = endpoint.path("acme");
            let name = pattern.contains('{').then_some("acme");
            assert_eq!(Endpoint::find(method, &path), Found::Endpoint(endpoint, name), "{path}");
            assert_eq!(Endpoint::find("PATCH", &path), Found::WrongMethod, "{path}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_path_that_is_like_a_pattern_is_none() {
        for path in ["/", "", "/v1", "/v1/wallet", "/v1/wallet/", "/v1/wallet/a/fund/", "/v1/keys/"]
        {
            assert_eq!(Endpoint::find("GET", path), Found::Nothing, "{path}");
        }
        let slash = Found::Endpoint(Endpoint::WalletBalance, Some("a%2Fb"));
        assert_eq!(Endpoint::find("GET", "/v1/wallet/a%2Fb"), slash, "not decoded");
    }
}
