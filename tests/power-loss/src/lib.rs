//! A disk that can lose its power, as a file system that the code under test runs on. [`disk`] is pure: what was
//! written, what was synced, and what a cut leaves of the difference; [`power`] says when the cut comes;
//! [`mount`] only translates between them and FUSE. The tests beside them run the sidecar's stores on it in a
//! process of their own (`src/bin/worker`), and ask after the cut whether what was acknowledged is still there.

pub mod chance;
pub mod disk;
pub mod mount;
pub mod power;
