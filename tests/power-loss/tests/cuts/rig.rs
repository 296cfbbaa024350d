//! A disk, the worker on it, and what the worker was promised.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use kt_power_loss::disk::{Disk, Honesty, PAGE_BYTES, ROOT, Survival};
use kt_power_loss::mount::Mount;
use kt_power_loss::power::{Powered, Supply};

const WORKER: &str = env!("CARGO_BIN_EXE_power-loss-worker");

/// One disk's life, through any number of cuts.
pub(crate) struct Rig {
    work: &'static str,
    disk: Disk,
    promises: Vec<String>,
    /// The number of the next operation.
    next: u64,
    /// Files and names that were not on the disk when an answer was given that needs them.
    pub(crate) unsynced_at_answers: BTreeSet<PathBuf>,
}

// === impl Rig ===

impl Rig {
    pub(crate) fn new(work: &'static str, honesty: Honesty) -> Self {
        Self {
            work,
            disk: Disk::empty(honesty),
            promises: Vec::new(),
            next: 0,
            unsynced_at_answers: BTreeSet::new(),
        }
    }

    /// How many operations were acknowledged.
    pub(crate) fn promised(&self) -> usize {
        self.promises.len()
    }

    /// Lets the worker work until the power goes, and keeps what survives.
    pub(crate) fn work_until_cut(&mut self, steps: u64, survival: &Survival) {
        let mount = self.mount(self.disk.clone(), Supply::Steps(steps));
        let mut worker = self.worker(&mount, &["load", &self.next.to_string()]);
        let mut go_on = worker.stdin.take().unwrap();
        for promise in BufReader::new(worker.stdout.take().unwrap()).lines() {
            self.promises.push(promise.unwrap());
            self.next += 1;
            let unsynced = mount.unsynced().into_iter();
            self.unsynced_at_answers.extend(unsynced.filter(|path| is_needed(path)));
            // A worker that is gone has said why.
            let _ = go_on.write_all(b"\n");
        }
        let _ = worker.kill();
        let ended = worker.wait_with_output().unwrap();
        let powered = mount.unmount().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(powered.is_off(), "the worker ended before the cut: {said}");
        self.disk = powered.disk().cut(survival);
        // The one under way may have been made or not, and is not made again. From an even number on, because
        // the odd ones may need what the one before has made.
        self.next = (self.next + 1).next_multiple_of(2);
    }

    /// Whether a database has more than the one page that it begins with outside its log.
    pub(crate) fn is_checkpointed(&self) -> bool {
        let find = |folder, name: &str| self.disk.find(folder, name.as_ref()).map(|it| it.node);
        let files = find(ROOT, "kt").and_then(|kt| self.disk.names(find(kt, "data")?));
        files.is_ok_and(|files| {
            let is_database = |name: &Path| name.extension().is_some_and(|ending| ending == "db");
            let page = u64::try_from(PAGE_BYTES).unwrap();
            files.iter().any(|(name, file)| is_database(Path::new(name)) && file.len > page)
        })
    }

    /// What does not hold, on a copy of the disk, so that the next to open this one is the worker.
    pub(crate) fn broken(&self) -> Vec<String> {
        let mount = self.mount(self.disk.clone(), Supply::Lasting);
        let mut check = self.worker(&mount, &["check"]);
        let promises: String = self.promises.iter().map(|promise| format!("{promise}\n")).collect();
        // It reads all of them before it writes, or ends before it reads any.
        let _ = check.stdin.take().unwrap().write_all(promises.as_bytes());
        let ended = check.wait_with_output().unwrap();
        mount.unmount().unwrap();
        let told = String::from_utf8(ended.stdout).unwrap();
        let mut broken: Vec<String> = told.lines().map(str::to_owned).collect();
        if !ended.status.success() {
            broken.push(format!("unreadable: {}", String::from_utf8_lossy(&ended.stderr)));
        }
        broken
    }

    fn mount(&self, disk: Disk, supply: Supply) -> Mount {
        Mount::new(Powered::new(disk, supply)).unwrap()
    }

    fn worker(&self, mount: &Mount, what: &[&str]) -> Child {
        Command::new(WORKER)
            .args(["--work", self.work, "--folder"])
            // Made by the store: that it is there is a promise too.
            .arg(mount.path().join("kt/data"))
            .args(what)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

/// The index of the log is made anew from the log when nobody has it open, as after a cut; and so are a lock and the
/// room that is kept free.
fn is_needed(path: &Path) -> bool {
    let path = path.to_string_lossy();
    !["-shm", ".lock", ".headroom"].iter().any(|ending| path.ends_with(ending))
}
