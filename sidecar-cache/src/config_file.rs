//! The configuration file on disk: read whole, and replaced whole.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::OFlags;

/// Held by whoever replaces a file.
static REPLACING: Mutex<()> = Mutex::new(());

/// A configuration is a page or two; a file beyond this is something else.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// A secret is a line; a file beyond this is something else.
pub const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Reads the file.
///
/// # Errors
/// What is to be told to its owner, with its path.
pub fn read(path: &Path) -> Result<String, String> {
    read_within(path, FILE_BYTES_MAX).map_err(|error| format!("{}: {error}", path.display()))
}

/// Reads a regular file of at most `bytes_max`. Anything else, as a pipe that nobody writes to, is an error at once.
///
/// # Errors
/// It is none, is larger, or cannot be read.
pub fn read_within(path: &Path, bytes_max: u64) -> io::Result<String> {
    // Whoever opens a pipe waits for its other end, unless he says otherwise; a regular file is none the different.
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    let mut text = String::new();
    let read = file.take(bytes_max.saturating_add(1)).read_to_string(&mut text)?;
    if read as u64 > bytes_max {
        return Err(io::Error::other(format!("larger than {bytes_max} bytes")));
    }
    Ok(text)
}

/// Puts `text` in the place of the file, in one step: whoever reads it finds the old text or the new one. It is on disk
/// when this returns. A link stays one; what it leads to is replaced. Who may read the file stays as it is.
///
/// # Errors
/// Where the folder takes no file, as that of a mounted `ConfigMap`. Nothing has changed then.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    // The draft's name is the process's own, not the caller's: one whose client has given up may still be at it.
    let _alone = REPLACING.lock().unwrap_or_else(PoisonError::into_inner);
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let permissions = path.metadata().map(|it| it.permissions());
    let permissions = permissions.unwrap_or_else(|_| Permissions::from_mode(0o600));
    // Its own name: sidecars of one machine may have one file.
    let draft = with_ending(&path, &format!(".new-{}", std::process::id()));
    // Left behind by a crash; its mode may be anything.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let written = write(&draft, text, permissions).and_then(|()| fs::rename(&draft, &path));
    if written.is_err() {
        // What is left of it is of no use, and this is no time for a second complaint.
        let _ = fs::remove_file(&draft);
    }
    written?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// Where what stood in the file lies after somebody has put something else in its place.
#[must_use]
pub fn set_aside_at(path: &Path) -> PathBuf {
    with_ending(&path.canonicalize().unwrap_or_else(|_| path.to_owned()), ".replaced")
}

fn write(path: &Path, text: &str, permissions: Permissions) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(permissions)?;
    file.sync_all()
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut path: OsString = path.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft_of(path: &Path) -> PathBuf {
        with_ending(path, &format!(".new-{}", std::process::id()))
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_readers_and_its_links() {
        let home = tempfile::tempdir().unwrap();
        let (file, link) = (home.path().join("a.yaml"), home.path().join("link.yaml"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        // A crash has left its draft.
        fs::write(draft_of(&file), "half").unwrap();
        replace(&link, "new").unwrap();
        assert_eq!((read(&file).unwrap(), mode(&file)), ("new".to_owned(), 0o644));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "a draft is left");
    }

    #[test]
    fn a_file_that_is_gone_is_made_for_its_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("a.yaml");
        replace(&file, "new").unwrap();
        assert_eq!((read(&file).unwrap(), mode(&file)), ("new".to_owned(), 0o600));
    }

    #[test]
    fn two_who_replace_it_at_once_both_replace_it_whole() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("a.yaml");
        let texts = ["a", "b"].map(|letter| letter.repeat(1 << 16));
        std::thread::scope(|threads| {
            for text in &texts {
                threads.spawn(|| (0..50).for_each(|_| replace(&file, text).unwrap()));
            }
        });
        assert!(texts.contains(&read(&file).unwrap()));
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "a draft is left");
    }

    #[test]
    fn a_pipe_that_nobody_writes_to_and_what_is_too_large_are_refused_at_once() {
        let home = tempfile::tempdir().unwrap();
        let (pipe, large) = (home.path().join("pipe"), home.path().join("large"));
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        fs::write(&large, "12345").unwrap();
        let said = |path: &Path| read_within(path, 4).unwrap_err().to_string();
        assert_eq!(said(&pipe), "is no regular file");
        assert_eq!(said(&large), "larger than 4 bytes");
        assert_eq!(read_within(&large, 5).unwrap(), "12345");
    }

    #[test]
    fn what_cannot_be_replaced_stays_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("a.yaml");
        fs::write(&file, "old").unwrap();
        // Where the draft would be there is a folder.
        fs::create_dir_all(draft_of(&file).join("x")).unwrap();
        assert!(replace(&file, "new").is_err());
        assert_eq!(read(&file).unwrap(), "old");
        assert!(read(&home.path().join("no.yaml")).unwrap_err().contains("no.yaml: "));
    }
}
