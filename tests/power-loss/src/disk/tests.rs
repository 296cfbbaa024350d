//! What a cut leaves.

use super::*;

const WHOLE: usize = usize::MAX;

fn disk() -> (Disk, Node) {
    let mut disk = Disk::empty(Honesty::Syncs);
    let file = make(&mut disk, "a", Kind::File);
    (disk, file)
}

fn make(disk: &mut Disk, name: &str, kind: Kind) -> Node {
    let node = disk.make(ROOT, name.as_ref(), kind, 0o600).unwrap().node;
    disk.sync(ROOT).unwrap();
    node
}

/// What differs between seeds, over enough of them.
fn cuts<T: Ord>(disk: &Disk, look: impl Fn(Disk) -> T) -> Vec<T> {
    let mut seen: Vec<T> =
        (0..300).map(|seed| look(disk.cut(&Survival::from_seed(seed)))).collect();
    seen.sort();
    seen.dedup();
    seen
}

fn names(disk: &Disk) -> Vec<String> {
    let names = disk.names(ROOT).unwrap();
    names.into_iter().map(|(name, _)| name.into_string().unwrap()).collect()
}

#[test]
fn what_was_synced_survives_and_what_came_after_may_not() {
    let (mut disk, file) = disk();
    disk.write(file, 0, b"old").unwrap();
    disk.sync(file).unwrap();
    disk.write(file, 0, b"new").unwrap();
    assert_eq!(disk.read(file, 0, WHOLE).unwrap(), b"new");
    assert_eq!(disk.cut(&Survival::nothing()).read(file, 0, WHOLE).unwrap(), b"old");
    let left = cuts(&disk, |cut| cut.read(file, 0, WHOLE).unwrap().to_vec());
    assert_eq!(left, [b"new", b"old"]);
}

#[test]
fn pages_survive_each_on_its_own_and_a_hole_is_zeros() {
    let (mut disk, file) = disk();
    disk.write(file, 0, &[1; 3 * PAGE_BYTES]).unwrap();
    let left = cuts(&disk, |cut| {
        let bytes = cut.read(file, 0, WHOLE).unwrap();
        let pages = bytes.chunks(PAGE_BYTES);
        pages.map(|page| (page.len(), page[0], page[page.len() - 1])).collect::<Vec<_>>()
    });
    let page = |byte| (PAGE_BYTES, byte, byte);
    let expected = [
        vec![],
        vec![page(0), page(0), page(1)],
        vec![page(0), page(1)],
        vec![page(0), page(1), page(1)],
        vec![page(1)],
        vec![page(1), page(0), page(1)],
        vec![page(1), page(1)],
        vec![page(1), page(1), page(1)],
    ];
    assert_eq!(left, expected);
}

#[test]
fn of_a_pages_changes_the_later_never_survive_without_the_earlier() {
    let (mut disk, file) = disk();
    for at in 0..3 {
        disk.write(file, at, b"x").unwrap();
    }
    let left = cuts(&disk, |cut| cut.read(file, 0, WHOLE).unwrap().to_vec());
    assert_eq!(left, [b"".as_slice(), b"x", b"xx", b"xxx"]);
}

#[test]
fn a_write_that_crosses_a_page_may_be_torn_there_and_nowhere_else() {
    let (mut disk, file) = disk();
    disk.resize(file, 8_192).unwrap();
    disk.sync(file).unwrap();
    disk.write(file, 4_094, b"abcd").unwrap();
    let left = cuts(&disk, |cut| cut.read(file, 4_094, 4).unwrap().to_vec());
    assert_eq!(left, [b"\0\0\0\0", b"\0\0cd", b"ab\0\0", b"abcd"]);
}

#[test]
fn what_came_after_a_resize_is_lost_with_it() {
    let (mut disk, file) = disk();
    disk.write(file, 0, b"long").unwrap();
    disk.sync(file).unwrap();
    disk.resize(file, 1).unwrap();
    disk.write(file, 1, b"!").unwrap();
    let left = cuts(&disk, |cut| cut.read(file, 0, WHOLE).unwrap().to_vec());
    assert_eq!(left, [b"l".as_slice(), b"l!", b"long"]);
}

#[test]
fn a_synced_file_whose_name_is_not_is_gone() {
    let mut disk = Disk::empty(Honesty::Syncs);
    let file = disk.make(ROOT, "a".as_ref(), Kind::File, 0o600).unwrap().node;
    disk.write(file, 0, b"here").unwrap();
    disk.sync(file).unwrap();
    assert_eq!(names(&disk.cut(&Survival::nothing())), Vec::<String>::new());
    disk.sync(ROOT).unwrap();
    let cut = disk.cut(&Survival::nothing());
    assert_eq!(names(&cut), ["a"]);
    assert_eq!(cut.read(file, 0, WHOLE).unwrap(), b"here");
}

#[test]
fn a_name_that_was_removed_may_be_there_again() {
    let (mut disk, file) = disk();
    disk.remove(ROOT, "a".as_ref()).unwrap();
    assert_eq!(disk.find(ROOT, "a".as_ref()), Err(Refusal::Absent));
    assert_eq!(disk.read(file, 0, WHOLE), Ok([].as_slice()), "whoever has it open goes on");
    assert_eq!(cuts(&disk, |cut| names(&cut)), [vec![], vec!["a"]]);
}

#[test]
fn a_rename_survives_whole_or_not_at_all() {
    let (mut disk, file) = disk();
    make(&mut disk, "b", Kind::File);
    disk.rename(ROOT, "a".as_ref(), "b".as_ref()).unwrap();
    assert_eq!(disk.find(ROOT, "b".as_ref()).unwrap().node, file);
    assert_eq!(cuts(&disk, |cut| names(&cut)), [vec!["a", "b"], vec!["b"]]);
}

#[test]
fn what_is_not_on_the_disk_is_told_by_its_path() {
    let (mut disk, file) = disk();
    assert_eq!(disk.unsynced(), Vec::<PathBuf>::new());
    let folder = make(&mut disk, "folder", Kind::Folder);
    let inner = disk.make(folder, "inner".as_ref(), Kind::File, 0o600).unwrap().node;
    disk.write(file, 0, b"x").unwrap();
    assert_eq!(disk.unsynced(), ["a", "folder/inner"].map(PathBuf::from));
    for node in [file, folder, inner] {
        disk.sync(node).unwrap();
    }
    assert_eq!(disk.unsynced(), Vec::<PathBuf>::new());
}

#[test]
fn a_disk_that_lies_keeps_nothing() {
    let mut disk = Disk::empty(Honesty::Lies);
    let file = disk.make(ROOT, "a".as_ref(), Kind::File, 0o600).unwrap().node;
    disk.sync(file).unwrap();
    disk.sync(ROOT).unwrap();
    assert_eq!(names(&disk.cut(&Survival::nothing())), Vec::<String>::new());
}

#[test]
fn the_same_seed_leaves_the_same() {
    let (mut disk, file) = disk();
    disk.write(file, 0, &[1; 64 * PAGE_BYTES]).unwrap();
    let left = |seed| disk.cut(&Survival::from_seed(seed)).read(file, 0, WHOLE).unwrap().to_vec();
    assert_eq!(left(7), left(7));
    assert_ne!(left(7), left(8));
}

#[test]
fn what_survives_of_one_file_does_not_depend_on_another() {
    let (mut disk, file) = disk();
    let other = make(&mut disk, "b", Kind::File);
    disk.write(other, 0, &[1; 64 * PAGE_BYTES]).unwrap();
    let left =
        |disk: &Disk| disk.cut(&Survival::from_seed(7)).read(other, 0, WHOLE).unwrap().to_vec();
    let before = left(&disk);
    disk.write(file, 0, &[1; 5 * PAGE_BYTES]).unwrap();
    assert_eq!(left(&disk), before);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let (mut disk, file) = disk();
    let folder = make(&mut disk, "folder", Kind::Folder);
    disk.make(folder, "inner".as_ref(), Kind::File, 0o600).unwrap();
    let again = disk.make(ROOT, "a".as_ref(), Kind::File, 0o600);
    assert_eq!(again, Err(Refusal::Exists));
    assert_eq!(disk.remove(ROOT, "folder".as_ref()), Err(Refusal::NotEmpty));
    assert_eq!(disk.remove(ROOT, "b".as_ref()), Err(Refusal::Absent));
    assert_eq!(disk.rename(ROOT, "b".as_ref(), "c".as_ref()), Err(Refusal::Absent));
    assert_eq!(disk.write(folder, 0, b"x"), Err(Refusal::WrongKind));
    assert_eq!(disk.find(file, "x".as_ref()), Err(Refusal::WrongKind));
    assert_eq!(disk.sync(Node(99)), Err(Refusal::Absent));
}
