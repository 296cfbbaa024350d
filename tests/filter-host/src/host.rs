//! The compiled module: loaded once, run in any number of processes and VMs.

use std::path::Path;

use wasmtime::{Config, Engine, InstancePre, Linker, Module};

use crate::envoy::Starting;
use crate::imports;
use crate::state::State;

/// A module that every import is known of.
#[derive(Clone)]
pub struct Host {
    pub(crate) engine: Engine,
    pub(crate) linked: InstancePre<State>,
}

/// Why a module cannot be run.
#[derive(Debug)]
pub enum LoadError {
    /// There is no file.
    Missing {
        /// Where it should be.
        path: String,
        /// What the operating system says.
        why: String,
    },
    /// It is no module, or it imports what no Envoy has.
    Unfit(String),
}

// === impl Host ===

impl Host {
    /// Compiles the module in a file.
    ///
    /// # Errors
    /// The file is missing, is no module, or imports what this host does not provide.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|error| LoadError::Missing {
            path: path.display().to_string(),
            why: error.to_string(),
        })?;
        Self::compile(bytes)
    }

    /// Compiles a module, as bytes or as text.
    ///
    /// # Errors
    /// It is no module, or imports what this host does not provide.
    pub fn compile(module: impl AsRef<[u8]>) -> Result<Self, LoadError> {
        Self::link(module.as_ref()).map_err(|error| LoadError::Unfit(format!("{error:?}")))
    }

    /// An Envoy that loads the module, to be described further and started.
    #[must_use]
    pub fn envoy(&self) -> Starting {
        Starting::with(self)
    }

    fn link(bytes: &[u8]) -> wasmtime::Result<Self> {
        let mut config = Config::new();
        config.consume_fuel(true);
        let engine = Engine::new(&config)?;
        let module = Module::new(&engine, bytes)?;
        let mut linker = Linker::new(&engine);
        imports::all(&mut linker)?;
        let linked = linker.instantiate_pre(&module)?;
        Ok(Self { engine, linked })
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Host")
    }
}

// === impl LoadError ===

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing { path, why } => {
                write!(f, "no filter module at {path} ({why}): build it with `make wasm`")
            }
            Self::Unfit(why) => write!(f, "the module cannot run in Envoy: {why}"),
        }
    }
}

impl std::error::Error for LoadError {}
