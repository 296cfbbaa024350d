//! A server process that does not outlive its test, whichever way that ends.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;

/// What is said where there is no Redis to test with.
pub const MISSING: &str =
    "redis-server is missing: apt-get install redis-server (7.0 or newer), or scripts/setup test";

/// Kills its child once its standard input ends, which it does with the process that holds the other end.
const GUARD: &str =
    r#""$@" & child=$!; cat >/dev/null; kill -9 $child 2>/dev/null; wait $child 2>/dev/null"#;

/// A running server.
#[derive(Debug)]
pub struct Process {
    guard: Child,
    life: Option<ChildStdin>,
}

// === impl Process ===

impl Process {
    /// Starts `redis-server` and waits for the line in which it says that it is ready.
    ///
    /// # Errors
    /// Where it does not start; with what it said.
    pub fn start(arguments: &[String], ready: &str) -> io::Result<Self> {
        if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_err() {
            return Err(io::Error::other(MISSING));
        }
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "guard", "redis-server"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let life = guard.stdin.take();
        let said = guard.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
        let mut lines = BufReader::new(said).lines();
        let mut log = Vec::new();
        for line in lines.by_ref() {
            let line = line?;
            if line.contains(ready) {
                // What it says later must not fill the pipe.
                thread::spawn(move || lines.for_each(drop));
                return Ok(Self { guard, life });
            }
            log.push(line);
        }
        guard.wait()?;
        Err(io::Error::other(format!("redis-server does not start:\n{}", log.join("\n"))))
    }

    /// Ends it as a power cut would: without a word.
    pub fn kill(&mut self) {
        self.life = None;
        _ = self.guard.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
