//! A disk in memory: of every file and folder what was written and what was synced. A folder's names are its
//! own content: a file whose bytes are synced is gone after a cut if the folder that names it was not. That is
//! what POSIX promises, and less than what most file systems do.

mod file;
mod history;
mod names;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::chance::Chance;
use file::Bytes;
use history::History;
use names::Names;

pub use file::PAGE_BYTES;

/// A file or folder, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node(pub u64);

/// The folder that holds everything.
pub const ROOT: Node = Node(1);

/// Files and folders, and whether a sync is one.
#[derive(Clone, Debug)]
pub struct Disk {
    nodes: BTreeMap<Node, Held>,
    next: u64,
    honesty: Honesty,
}

/// What a sync does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Honesty {
    /// What it says.
    Syncs,
    /// Nothing, and it says that it did.
    Lies,
}

/// Which unsynced changes survive a cut.
#[derive(Clone, Debug)]
pub struct Survival {
    chance: Chance,
    of_256: u64,
}

/// What is told about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// Which.
    pub node: Node,
    /// What it is.
    pub kind: Kind,
    /// The bytes of a file.
    pub len: u64,
    /// Who may do what.
    pub mode: u16,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes.
    File,
    /// Names.
    Folder,
}

/// Why something cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such node or name.
    Absent,
    /// There is one already.
    Exists,
    /// A folder is asked for something that only files do, or the other way round.
    WrongKind,
    /// A folder that holds something is not removed.
    NotEmpty,
    /// No machine here has so much memory.
    TooLarge,
    /// The power is off.
    Off,
}

#[derive(Clone, Debug)]
struct Held {
    mode: u16,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    File(History<Bytes>),
    Folder(History<Names>),
}

// === impl Survival ===

impl Survival {
    /// Nothing that was not synced.
    #[must_use]
    pub const fn nothing() -> Self {
        Self { chance: Chance::from_seed(0), of_256: 0 }
    }

    /// Some of it, more or less of it by the seed too.
    #[must_use]
    pub const fn from_seed(seed: u64) -> Self {
        let mut chance = Chance::from_seed(seed);
        let of_256 = chance.below(257);
        Self { chance, of_256 }
    }

    /// Decides about one node alone: what was written to another changes nothing.
    const fn of(&self, node: Node) -> Self {
        let mut chance = self.chance;
        let seed = chance.number() ^ node.0;
        Self { chance: Chance::from_seed(seed), of_256: self.of_256 }
    }

    const fn decides(&mut self) -> bool {
        self.chance.below(256) < self.of_256
    }
}

// === impl Disk ===

impl Disk {
    /// A disk with nothing on it.
    #[must_use]
    pub fn empty(honesty: Honesty) -> Self {
        let nodes = BTreeMap::from([(ROOT, Held::new(Kind::Folder, 0o755))]);
        Self { nodes, next: ROOT.0 + 1, honesty }
    }

    /// What is behind a name.
    ///
    /// # Errors
    /// Where there is no such folder or name.
    pub fn find(&self, folder: Node, name: &OsStr) -> Result<About, Refusal> {
        let node = self.folder(folder)?.now().0.get(name).ok_or(Refusal::Absent)?;
        self.about(*node)
    }

    /// What a node is.
    ///
    /// # Errors
    /// Where there is none.
    pub fn about(&self, node: Node) -> Result<About, Refusal> {
        let held = self.nodes.get(&node).ok_or(Refusal::Absent)?;
        let (kind, len) = match &held.content {
            Content::File(bytes) => (Kind::File, bytes.now().len()),
            Content::Folder(_) => (Kind::Folder, 0),
        };
        let len = u64::try_from(len).map_err(|_| Refusal::TooLarge)?;
        Ok(About { node, kind, len, mode: held.mode })
    }

    /// The names in a folder.
    ///
    /// # Errors
    /// Where there is no such folder.
    pub fn names(&self, folder: Node) -> Result<Vec<(OsString, About)>, Refusal> {
        let names = &self.folder(folder)?.now().0;
        names.iter().map(|(name, node)| Ok((name.clone(), self.about(*node)?))).collect()
    }

    /// The bytes of a file from `at`; fewer than `len` at its end.
    ///
    /// # Errors
    /// Where there is no such file.
    pub fn read(&self, file: Node, at: u64, len: usize) -> Result<&[u8], Refusal> {
        match self.nodes.get(&file).ok_or(Refusal::Absent)?.content {
            Content::File(ref bytes) => Ok(bytes.now().read(size(at)?, len)),
            Content::Folder(_) => Err(Refusal::WrongKind),
        }
    }

    /// Makes a file or a folder.
    ///
    /// # Errors
    /// Where the name is taken.
    pub fn make(
        &mut self,
        folder: Node,
        name: &OsStr,
        kind: Kind,
        mode: u16,
    ) -> Result<About, Refusal> {
        let node = Node(self.next);
        let names = self.folder_mut(folder)?;
        if names.now().0.contains_key(name) {
            return Err(Refusal::Exists);
        }
        names.change(names::Change::Add { name: name.to_owned(), node });
        self.next += 1;
        self.nodes.insert(node, Held::new(kind, mode));
        self.about(node)
    }

    /// Removes a name. Whoever has the file open goes on with it.
    ///
    /// # Errors
    /// Where there is no such name, or a folder that is not empty behind it.
    pub fn remove(&mut self, folder: Node, name: &OsStr) -> Result<(), Refusal> {
        let node = self.find(folder, name)?.node;
        if self.folder(node).is_ok_and(|names| !names.now().0.is_empty()) {
            return Err(Refusal::NotEmpty);
        }
        self.folder_mut(folder)?.change(names::Change::Remove { name: name.to_owned() });
        Ok(())
    }

    /// Gives something another name in its folder, and takes that from whatever has it.
    ///
    /// # Errors
    /// Where there is no such name.
    pub fn rename(&mut self, folder: Node, from: &OsStr, to: &OsStr) -> Result<(), Refusal> {
        self.find(folder, from)?;
        let change = names::Change::Rename { from: from.to_owned(), to: to.to_owned() };
        self.folder_mut(folder)?.change(change);
        Ok(())
    }

    /// Writes bytes into a file.
    ///
    /// # Errors
    /// Where there is no such file.
    pub fn write(&mut self, file: Node, at: u64, bytes: &[u8]) -> Result<(), Refusal> {
        let at = size(at)?;
        let written = self.file_mut(file)?;
        file::pages(at, bytes).for_each(|change| written.change(change));
        Ok(())
    }

    /// Cuts a file off, or fills it up with zeros.
    ///
    /// # Errors
    /// Where there is no such file.
    pub fn resize(&mut self, file: Node, len: u64) -> Result<(), Refusal> {
        let len = size(len)?;
        self.file_mut(file)?.change(file::Change::Resize { len });
        Ok(())
    }

    /// Says who may do what. Never lost: whether a mode survives is no question that is asked here.
    ///
    /// # Errors
    /// Where there is no such node.
    pub fn set_mode(&mut self, node: Node, mode: u16) -> Result<(), Refusal> {
        self.nodes.get_mut(&node).ok_or(Refusal::Absent)?.mode = mode;
        Ok(())
    }

    /// Puts a file's bytes, or a folder's names, on the disk.
    ///
    /// # Errors
    /// Where there is no such node.
    pub fn sync(&mut self, node: Node) -> Result<(), Refusal> {
        let held = self.nodes.get_mut(&node).ok_or(Refusal::Absent)?;
        match (self.honesty, &mut held.content) {
            (Honesty::Lies, _) => {}
            (Honesty::Syncs, Content::File(bytes)) => bytes.sync(),
            (Honesty::Syncs, Content::Folder(names)) => names.sync(),
        }
        Ok(())
    }

    /// What is not on the disk as it was written: the files, and the names.
    #[must_use]
    pub fn unsynced(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        self.collect_unsynced(ROOT, Path::new(""), &mut found);
        found
    }

    /// The disk as it is found after the power was cut.
    #[must_use]
    pub fn cut(&self, survival: &Survival) -> Self {
        let nodes = self.nodes.iter().map(|(node, held)| {
            let mut survival = survival.of(*node);
            let content = match &held.content {
                Content::File(bytes) => Content::File(bytes.cut(&mut survival)),
                Content::Folder(names) => Content::Folder(names.cut(&mut survival)),
            };
            (*node, Held { mode: held.mode, content })
        });
        Self { nodes: nodes.collect(), next: self.next, honesty: self.honesty }
    }

    fn collect_unsynced(&self, folder: Node, path: &Path, found: &mut Vec<PathBuf>) {
        let Ok(names) = self.folder(folder) else { return };
        found.extend(names.unsynced().iter().map(|change| match change {
            names::Change::Add { name, .. }
            | names::Change::Remove { name }
            | names::Change::Rename { from: name, .. } => path.join(name),
        }));
        for (name, node) in &names.now().0 {
            match self.nodes.get(node).map(|held| &held.content) {
                Some(Content::File(bytes)) if !bytes.unsynced().is_empty() => {
                    found.push(path.join(name));
                }
                Some(Content::Folder(_)) => self.collect_unsynced(*node, &path.join(name), found),
                Some(Content::File(_)) | None => {}
            }
        }
    }

    fn folder(&self, node: Node) -> Result<&History<Names>, Refusal> {
        match &self.nodes.get(&node).ok_or(Refusal::Absent)?.content {
            Content::Folder(names) => Ok(names),
            Content::File(_) => Err(Refusal::WrongKind),
        }
    }

    fn folder_mut(&mut self, node: Node) -> Result<&mut History<Names>, Refusal> {
        match &mut self.nodes.get_mut(&node).ok_or(Refusal::Absent)?.content {
            Content::Folder(names) => Ok(names),
            Content::File(_) => Err(Refusal::WrongKind),
        }
    }

    fn file_mut(&mut self, node: Node) -> Result<&mut History<Bytes>, Refusal> {
        match &mut self.nodes.get_mut(&node).ok_or(Refusal::Absent)?.content {
            Content::File(bytes) => Ok(bytes),
            Content::Folder(_) => Err(Refusal::WrongKind),
        }
    }
}

// === impl Held ===

impl Held {
    fn new(kind: Kind, mode: u16) -> Self {
        let content = match kind {
            Kind::File => Content::File(History::new(Bytes::default())),
            Kind::Folder => Content::Folder(History::new(Names::default())),
        };
        Self { mode, content }
    }
}

fn size(number: u64) -> Result<usize, Refusal> {
    usize::try_from(number).map_err(|_| Refusal::TooLarge)
}

#[cfg(test)]
mod tests;
