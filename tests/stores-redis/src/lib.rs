//! Redis servers of our own, in a temporary folder each, gone with the process that started them: what the
//! tests of the stores run on.

mod process;
mod server;

pub use process::{MISSING, Process};
pub use server::Server;
