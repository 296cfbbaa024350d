//! The versions of the configuration, on the admin socket: which one is live, which there were, and how another one
//! takes its place.

use serde::{Deserialize, Serialize};

use crate::time::UnixMillis;

/// How many characters say at most who has asked for a change.
pub const BY_CHARS_MAX: usize = 64;

/// How a configuration came to the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub enum Source {
    /// The sidecar was started with it.
    Start,
    /// Somebody has saved the file.
    File,
    /// `kt config apply`.
    Apply,
    /// `kt config rollback`.
    Rollback,
}

/// The body of `POST /v1/config`: a file to take the place of the one that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct ApplyRequest {
    /// The whole text of the file.
    pub text: String,
    /// Who asks, for the history: 1 to 64 characters. Nobody checks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Whether it is only to be checked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// The body of `POST /v1/config/rollback`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct RollbackRequest {
    /// The version to go back to: its number, or the first 8 or more digits of its digest. Without one, what the last
    /// change has changed: a file that was refused gives way to the version that is live, and that one to the version
    /// before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Who asks, for the history: 1 to 64 characters. Nobody checks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// The answer to both: the version that is live by now in this sidecar, and on its way to the gateways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct ApplyReply {
    /// The digest of its text: 16 hexadecimal digits.
    pub version: String,
    /// The version that was live before. Equal to `version` where nothing had to change.
    pub before: String,
    /// What is not an error, and its owner should know.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Where what stood in the file lies, because it was no version that the history has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_aside: Option<String>,
}

/// The answer to `GET /v1/config`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct VersionsReply {
    /// The version that is live.
    pub live: String,
    /// Those that were live, and those that were refused, newest first. Of either at most 100.
    pub versions: Vec<VersionEntry>,
}

/// One version of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct VersionEntry {
    /// Counts from 1; no number is given twice. The same text has a number for each time that it came.
    pub number: u64,
    /// The digest of its text: 16 hexadecimal digits. `None` where there was none to be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The version of the snapshot that gateways get of it; `None` where it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// When it came.
    pub at: UnixMillis,
    /// How it came.
    pub source: Source,
    /// Who has asked for it, where somebody has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why it was refused; empty for one that went live. Of a refused one only this is kept, not its text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    /// Whether it is the one that is live.
    pub is_live: bool,
}

/// The answer to `GET /v1/config/{version}`, where a version is a number, the first 8 or more digits of a digest,
/// `live`, or `file` for what the file says, live or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct VersionReply {
    /// The digest of its text.
    pub version: String,
    /// Its text.
    pub text: String,
}

/// The configuration of a sidecar, in its status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct ConfigStatus {
    /// The version that is live; empty in a sidecar without a file.
    pub version: String,
    /// For how long.
    pub live_ms: u64,
    /// The last one that was refused, whether or not it has been mended since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<VersionEntry>,
}

// === impl Source ===

impl Source {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Start, Self::File, Self::Apply, Self::Rollback];

    /// The word in logs, metrics and rows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::File => "file",
            Self::Apply => "apply",
            Self::Rollback => "rollback",
        }
    }
}
