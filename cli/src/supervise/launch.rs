//! Starting a child so that it cannot outlive `kt`, however `kt` ends: a small detour through
//! `kt __child`, which asks the kernel for a signal when its parent dies and then becomes the child.
//!
//! The kernel means the parent's *thread*. `kt` therefore runs everything on its main thread.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};
use tokio::process::{Child, Command};

use crate::failure::Failure;

/// The hidden subcommand.
pub(crate) const SUBCOMMAND: &str = "__child";

/// What `kt __child` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Whose death to die.
    #[arg(long)]
    parent: i32,
    /// What to become.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// A program and its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// What messages call it.
    pub(crate) name: &'static str,
    /// The file and its arguments.
    pub(crate) command: Vec<OsString>,
}

// === impl Program ===

impl Program {
    pub(crate) fn new(name: &'static str, file: &Path) -> Self {
        Self { name, command: vec![file.into()] }
    }

    pub(crate) fn arg(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.command.extend([name.into(), value.into()]);
        self
    }

    pub(crate) fn flag(mut self, name: &str) -> Self {
        self.command.push(name.into());
        self
    }

    /// Starts it, in a process group of its own: Ctrl-C at a terminal goes to `kt` alone, which then ends its
    /// children in the right order.
    pub(crate) fn start(&self) -> Result<Child, Failure> {
        // The running program, also when the file has been replaced by a newer one.
        Command::new("/proc/self/exe")
            .arg0("kt")
            .arg(SUBCOMMAND)
            .args(["--parent", &getpid().as_raw_nonzero().to_string(), "--"])
            .args(&self.command)
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| Failure::new(format!("cannot start {}: {error}", self.name)))
    }
}

/// `kt __child`: becomes the command, unless the parent is gone already. Returns only what went wrong.
pub(crate) fn become_child(args: Args) -> Failure {
    let Args { parent, command } = args;
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return Failure::new(format!("cannot tie a child to its parent: {error}"));
    }
    // The parent may have died before the line above; then no signal will ever come.
    if getppid() != Pid::from_raw(parent) {
        return Failure::new("the parent is gone");
    }
    let Some((program, args)) = command.split_first() else {
        return Failure::new("no command");
    };
    let error = std::process::Command::new(program).args(args).exec();
    Failure::io("run", Path::new(program), &error)
}
