//! The suite of keys over SQLite.

use sidecar_cache::store::sqlite::SqliteKeys;

macro_rules! key_suite {
    ($($test:ident)*) => {
        mod sqlite {$(
            #[tokio::test]
            async fn $test() {
                let folder = tempfile::tempdir().unwrap();
                let open = || super::SqliteKeys::open(folder.path()).unwrap();
                crate::key_suite::$test(open).await;
            }
        )*}
    };
}

key_suite! {
    a_key_survives_a_restart
    a_revoked_key_stays_known_with_its_first_moment
    names_and_hashes_are_unique
    keys_are_listed_from_the_oldest_on
    a_name_is_bytes_and_never_a_statement
    a_rotation_adds_a_key_and_gives_the_old_one_an_end
    the_place_of_a_key_is_taken_once_unless_its_successor_is_revoked
    a_key_that_is_over_has_no_place_to_take
}
