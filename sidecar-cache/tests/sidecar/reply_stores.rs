//! The suite of replies over SQLite.

use sidecar_cache::clock::Clock;
use sidecar_cache::store::sqlite::SqliteReplies;

use crate::reply_suite::BOUNDS;

macro_rules! reply_suite {
    ($($test:ident)*) => {
        mod sqlite {$(
            #[tokio::test]
            async fn $test() {
                let folder = tempfile::tempdir().unwrap();
                let open = async || {
                    let clock = super::Clock::start();
                    super::SqliteReplies::open_bounded(folder.path(), clock, super::BOUNDS).unwrap()
                };
                crate::reply_suite::$test(open).await;
            }
        )*}
    };
}

reply_suite! {
    what_was_kept_survives_a_restart
    a_keys_newer_answer_takes_the_place_of_the_older_and_is_counted_once
    an_organization_beyond_its_bounds_loses_its_own_oldest
    an_organization_is_forgotten_for_good_and_has_all_of_its_room_again
}
