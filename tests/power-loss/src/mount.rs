//! The disk as a file system: FUSE's requests to the disk's operations, and back. It decides nothing.
//!
//! Writes come through at once, for the kernel's write-back cache stays off; what a process maps into its memory
//! and changes there comes when the kernel likes. Locks are the kernel's business.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};

use crate::disk::{About, Kind, Node, PAGE_BYTES, Refusal};
use crate::power::Powered;

/// Nothing changes behind the kernel's back, so it may remember what it was told.
const REMEMBERED: Duration = Duration::from_secs(3_600);
const THREADS: usize = 2;
/// Files have no handles, for they have no state but their node's.
const NO_HANDLE: FileHandle = FileHandle(0);
/// Nodes are never used twice.
const ONLY: Generation = Generation(0);

/// A disk that is mounted. It is unmounted when this is dropped.
#[derive(Debug)]
pub struct Mount {
    session: BackgroundSession,
    shared: Shared,
    folder: tempfile::TempDir,
}

/// The disk, for the threads that serve it and the one that looks.
#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<Powered>>);

// === impl Mount ===

impl Mount {
    /// Mounts a disk on a new temporary folder.
    ///
    /// # Errors
    /// Where FUSE or the right to mount is missing, with what to do.
    pub fn new(powered: Powered) -> io::Result<Self> {
        let shared = Shared(Arc::new(Mutex::new(powered)));
        let folder = tempfile::tempdir()?;
        let mut config = Config::default();
        config.mount_options =
            vec![MountOption::FSName("kt-power-loss".to_owned()), MountOption::NoSuid];
        config.n_threads = Some(THREADS);
        let session = fuser::spawn_mount(shared.clone(), folder.path(), &config).map_err(|error| {
            io::Error::other(format!(
                "a FUSE file system cannot be mounted ({error}): it needs /dev/fuse (modprobe fuse; in a \
                 container --device /dev/fuse --cap-add SYS_ADMIN) and root or fusermount3 (apt-get \
                 install fuse3)"
            ))
        })?;
        Ok(Self { session, shared, folder })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What is not on the disk as it was written.
    #[must_use]
    pub fn unsynced(&self) -> Vec<PathBuf> {
        self.shared.lock().disk().unsynced()
    }

    /// Unmounts the disk, and gives it back as it is.
    ///
    /// # Errors
    /// Where somebody still uses it.
    pub fn unmount(self) -> io::Result<Powered> {
        match self.session.umount_and_join() {
            // The kernel's other word for a file system that is gone, as was asked: now and then the threads that serve
            // it are told that one.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            ended => ended?,
        }
        Ok(self.shared.lock().clone())
    }
}

// === impl Shared ===

impl Shared {
    /// A thread that panicked while it held the disk has failed the test already.
    fn lock(&self) -> MutexGuard<'_, Powered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, folder: INodeNo, name: &OsStr, kind: Kind, mode: u32) -> Result<About, Refusal> {
        self.lock().step()?.make(Node(folder.0), name, kind, permissions(mode))
    }

    fn remove(&self, folder: INodeNo, name: &OsStr) -> Result<(), Refusal> {
        self.lock().step()?.remove(Node(folder.0), name)
    }

    fn sync(&self, node: INodeNo) -> Result<(), Refusal> {
        self.lock().step()?.sync(Node(node.0))
    }

    fn set(&self, node: Node, mode: Option<u32>, len: Option<u64>) -> Result<About, Refusal> {
        let mut powered = self.lock();
        if let Some(mode) = mode {
            powered.unasked()?.set_mode(node, permissions(mode))?;
        }
        if let Some(len) = len {
            powered.step()?.resize(node, len)?;
        }
        powered.look()?.about(node)
    }

    fn allocate(&self, node: Node, end: u64) -> Result<(), Refusal> {
        let mut powered = self.lock();
        let len = powered.look()?.about(node)?.len;
        powered.step()?.resize(node, len.max(end))
    }

    fn write(&self, node: Node, at: u64, bytes: &[u8], flags: WriteFlags) -> Result<u32, Refusal> {
        let len = u32::try_from(bytes.len()).map_err(|_| Refusal::TooLarge)?;
        let mut powered = self.lock();
        let disk = if flags.contains(WriteFlags::FUSE_WRITE_CACHE) {
            powered.unasked()?
        } else {
            powered.step()?
        };
        disk.write(node, at, bytes)?;
        Ok(len)
    }
}

impl Filesystem for Shared {
    fn lookup(&self, request: &Request, folder: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.lock().look().and_then(|disk| disk.find(Node(folder.0), name));
        entry(request, found, reply);
    }

    fn getattr(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        let about = self.lock().look().and_then(|disk| disk.about(Node(node.0)));
        attributes(request, about, reply);
    }

    fn setattr(
        &self,
        request: &Request,
        node: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        attributes(request, self.set(Node(node.0), mode, size), reply);
    }

    fn mkdir(
        &self,
        request: &Request,
        folder: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        entry(request, self.make(folder, name, Kind::Folder, mode), reply);
    }

    fn create(
        &self,
        request: &Request,
        folder: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.make(folder, name, Kind::File, mode) {
            Ok(made) => {
                let attributes = attributes_of(request, made);
                reply.created(&REMEMBERED, &attributes, ONLY, NO_HANDLE, FopenFlags::empty());
            }
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn unlink(&self, _request: &Request, folder: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.remove(folder, name), reply);
    }

    fn rmdir(&self, _request: &Request, folder: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.remove(folder, name), reply);
    }

    fn rename(
        &self,
        _request: &Request,
        folder: INodeNo,
        name: &OsStr,
        new_folder: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        // Nobody here needs more, and a rename across folders is two histories' business.
        if folder != new_folder || !flags.is_empty() {
            return reply.error(Errno::ENOSYS);
        }
        let renamed =
            self.lock().step().and_then(|disk| disk.rename(Node(folder.0), name, new_name));
        empty(renamed, reply);
    }

    fn read(
        &self,
        _request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let len = usize::try_from(size).unwrap_or(usize::MAX);
        match self.lock().look().and_then(|disk| disk.read(Node(node.0), offset, len)) {
            Ok(bytes) => reply.data(bytes),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn write(
        &self,
        _request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.write(Node(node.0), offset, data, write_flags) {
            Ok(len) => reply.written(len),
            Err(refusal) => reply.error(refusal.into()),
        }
    }

    fn fallocate(
        &self,
        _request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        // Nobody here punches holes.
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        empty(self.allocate(Node(node.0), offset.saturating_add(length)), reply);
    }

    fn fsync(
        &self,
        _request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        empty(self.sync(node), reply);
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        empty(self.sync(node), reply);
    }

    fn readdir(
        &self,
        _request: &Request,
        folder: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let names = self.lock().look().and_then(|disk| disk.names(Node(folder.0)));
        match names {
            Ok(names) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                for (next, (name, about)) in (1_u64..).zip(names).skip(from) {
                    if reply.add(INodeNo(about.node.0), next, kind(about.kind), name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(refusal) => reply.error(refusal.into()),
        }
    }
}

impl From<Refusal> for Errno {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Absent => Self::ENOENT,
            Refusal::Exists => Self::EEXIST,
            Refusal::WrongKind => Self::EINVAL,
            Refusal::NotEmpty => Self::ENOTEMPTY,
            Refusal::TooLarge => Self::EFBIG,
            Refusal::Off => Self::EIO,
        }
    }
}

fn entry(request: &Request, found: Result<About, Refusal>, reply: ReplyEntry) {
    match found {
        Ok(about) => reply.entry(&REMEMBERED, &attributes_of(request, about), ONLY),
        Err(refusal) => reply.error(refusal.into()),
    }
}

fn attributes(request: &Request, about: Result<About, Refusal>, reply: ReplyAttr) {
    match about {
        Ok(about) => reply.attr(&REMEMBERED, &attributes_of(request, about)),
        Err(refusal) => reply.error(refusal.into()),
    }
}

fn empty(done: Result<(), Refusal>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(refusal) => reply.error(refusal.into()),
    }
}

/// Everything belongs to whoever asks, and is as old as time: nothing that is tested looks at either.
fn attributes_of(request: &Request, about: About) -> FileAttr {
    let old = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(about.node.0),
        size: about.len,
        blocks: about.len.div_ceil(512),
        atime: old,
        mtime: old,
        ctime: old,
        crtime: old,
        kind: kind(about.kind),
        perm: about.mode,
        nlink: 1,
        uid: request.uid(),
        gid: request.gid(),
        rdev: 0,
        blksize: u32::try_from(PAGE_BYTES).unwrap_or(u32::MAX),
        flags: 0,
    }
}

const fn kind(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Folder => FileType::Directory,
    }
}

fn permissions(mode: u32) -> u16 {
    u16::try_from(mode & 0o7777).unwrap_or(0)
}
