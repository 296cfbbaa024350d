//! What a client may ask of the cache with `Cache-Control`, and what it is told where there is nothing for it.

use kt_filter_host::Message;
use kt_filter_host::sidecar::{AGE_S, Mood};
use kt_filter_host::world::{World, chat, question};

use super::{assert_clean, cache_status, code, forwarded, replied, stored, world};

fn asking(cache_control: impl AsRef<[u8]>) -> Message {
    chat().header("cache-control", cache_control).body(question("hi"))
}

/// A world in which the sidecar has the answer, and the worker too.
fn warm() -> World {
    let mut world = world();
    let _miss = world.send(asking(""));
    world.sidecar.stores_last(stored("{\"id\":1}"));
    for reason in ["shared", "shared", "l1"] {
        let answer = replied(&world.send(asking("")));
        assert_eq!(cache_status(&answer), ("hit".to_owned(), reason.to_owned()));
    }
    world
}

#[test]
fn an_answer_that_is_too_old_for_a_client_is_asked_for_anew() {
    let mut world = warm();
    for (max_age, from) in [
        (format!("max-age={}", AGE_S + 1), "l1"),
        // The worker knows the age to a second only; the sidecar knows it better.
        (format!("max-age={AGE_S}"), "shared"),
        (format!("Max-Age=\"{AGE_S}\""), "shared"),
    ] {
        assert_eq!(cache_status(&replied(&world.send(asking(&max_age)))).1, from, "{max_age}");
    }
    for max_age in ["max-age=0", "max-age=6", "max-age=seven", "max-age"] {
        let _ = forwarded(&world.send(asking(max_age)));
    }
    let two_lines = asking("max-age=6").header("cache-control", "max-age=600");
    let _ = forwarded(&world.send(two_lines));
    assert_clean(&world);
}

#[test]
fn who_wants_a_cached_answer_only_is_served_or_told_that_there_is_none() {
    let mut world = warm();
    let answer = replied(&world.send(asking("only-if-cached")));
    assert_eq!(cache_status(&answer).0, "hit");
    let asked = chat().header("cache-control", "only-if-cached").body(question("ho"));
    let answer = replied(&world.send(asked));
    assert_eq!((answer.status(), code(&answer).as_str()), (504, "not_cached"));
    assert_eq!(answer.header("cache-status").as_deref(), Some("kt; detail=request"));
    assert_eq!(answer.header("x-should-retry").as_deref(), Some("false"));
    assert_eq!(answer.header("x-cache-status"), None);
    let answer = replied(&world.send(asking("only-if-cached, max-age=6")));
    assert_eq!(answer.header("cache-status").as_deref(), Some("kt; detail=expired"));
    assert_eq!(world.counted("kt_filter_refused_total.why.not_cached"), 2);
    assert_clean(&world);
}

#[test]
fn who_wants_a_cached_answer_only_never_goes_to_a_provider() {
    let mut world = world();
    world.sidecar.publishes("snapshot-2", |snapshot| {
        snapshot.on_sidecar_loss = kt_contract::snapshot::OnSidecarLoss::Direct;
    });
    world.pass(std::time::Duration::from_millis(500));
    let _ = forwarded(&world.send(asking("")));
    for (mood, reason) in [
        (Mood::Failing(kt_filter_host::Reply::Refused), "sidecar-lost"),
        (Mood::Draining, "draining"),
    ] {
        world.sidecar.mood = mood;
        let answer = replied(&world.send(asking("only-if-cached")));
        assert_eq!((answer.status(), cache_status(&answer).1.as_str()), (504, reason));
    }
    assert_clean(&world);
}

#[test]
fn an_older_client_says_it_with_pragma() {
    let mut world = warm();
    let pragma = |request: Message| request.header("pragma", "no-cache");
    let _ = forwarded(&world.send(pragma(chat().body(question("hi")))));
    let reason = world.sidecar.admits.last().unwrap().bypass;
    assert_eq!(reason, Some(kt_contract::outcome::Reason::ClientNoCache));
    let newer = pragma(asking("max-age=600"));
    assert_eq!(cache_status(&replied(&world.send(newer))).1, "l1");
    assert_clean(&world);
}
