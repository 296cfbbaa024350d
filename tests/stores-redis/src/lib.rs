//! Redis servers of our own, in a temporary folder each, gone with the process that started them: what the
//! tests of the stores run on.

mod cluster;
mod process;
mod sentinel;
mod server;
mod tls;

pub use cluster::Cluster;
pub use process::{MISSING, Process};
pub use sentinel::Watched;
pub use server::{Frozen, Server};
pub use tls::{Authority, FOLDER, folder, url};
