//! The environment, read here and nowhere else.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// The variables that `kt` knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// `KT_ENVOY`: the Envoy binary.
    pub(crate) envoy: Option<PathBuf>,
    /// `KT_FILTER`: the filter's Wasm module.
    pub(crate) filter: Option<PathBuf>,
    /// `KT_SIDECAR`: the sidecar's socket, for client commands.
    pub(crate) sidecar: Option<PathBuf>,
    /// `SUDO_USER`, else `USER`: who asks, for histories.
    pub(crate) user: Option<String>,
    /// `SSL_CERT_FILE`: the certificate authorities.
    pub(crate) trusted_ca: Option<PathBuf>,
    /// Variables of the control plane to come that are set.
    pub(crate) reserved: Vec<&'static str>,
    path: Option<OsString>,
}

/// What the seeds call the control plane's address and the gateway's token for it.
const RESERVED: [&str; 2] = ["KEEPTRUSTS_API_URL", "KEEPTRUSTS_GATEWAY_TOKEN"];

// === impl Environment ===

impl Environment {
    /// Reads the environment of this process.
    pub(crate) fn read() -> Self {
        let path = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            envoy: path("KT_ENVOY"),
            filter: path("KT_FILTER"),
            sidecar: path("KT_SIDECAR"),
            user: variable("SUDO_USER").or_else(|| variable("USER")),
            trusted_ca: path("SSL_CERT_FILE"),
            reserved: RESERVED.into_iter().filter(|name| env::var_os(name).is_some()).collect(),
            path: env::var_os("PATH"),
        }
    }

    /// The first file of this name in `PATH`.
    pub(crate) fn in_path(&self, name: &str) -> Option<PathBuf> {
        let path = self.path.as_ref()?;
        env::split_paths(path).map(|folder| folder.join(name)).find(|file| file.is_file())
    }
}

/// The value of a variable that the configuration names.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var_os(name)?.into_string().ok()
}

/// The arguments that this process was started with, without its own name.
pub(crate) fn arguments() -> Vec<String> {
    env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect()
}

/// The file at a place in the repository that this program was built in: it lies in `target/<profile>`.
pub(crate) fn in_repository_of_this_program(place: &str) -> Option<PathBuf> {
    let path = repository_of_this_program()?.join(place);
    path.exists().then_some(path)
}

fn repository_of_this_program() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    let target = program.ancestors().nth(2).filter(|folder| folder.ends_with("target"))?;
    target.parent().map(PathBuf::from)
}

/// The file beside this program, which is where a release puts what belongs together.
pub(crate) fn beside_this_program(name: &str) -> Option<PathBuf> {
    let file = env::current_exe().ok()?.parent()?.join(name);
    file.is_file().then_some(file)
}
