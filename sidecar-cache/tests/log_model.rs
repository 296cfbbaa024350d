//! The log of a flight under every interleaving of its threads, as far as loom explores them: nobody misses a
//! wake-up, reads a piece twice or skips one, and the end comes after the last piece.

#[cfg(test)]
#[path = "../src/service/log.rs"]
#[expect(dead_code, reason = "what needs no second thread is tested in the sidecar")]
mod log;

#[cfg(test)]
mod sync {
    pub(crate) use loom::sync::Mutex;
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use bytes::Bytes;
    use loom::future::block_on;
    use loom::sync::Arc;
    use loom::thread;

    use super::log::{Begun, Charge, Failing, Log, Next, Piece, ReaderId, Total, View};

    type Numbers = Log<u8, (), &'static str>;

    fn model(check: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        // Every bug that was ever planted here shows within two; three take a minute.
        builder.preemption_bound = Some(2);
        builder.check(check);
    }

    fn numbers() -> Numbers {
        counted().0
    }

    /// A log, and what it keeps.
    fn counted() -> (Numbers, std::sync::Arc<Total>) {
        let total = std::sync::Arc::new(Total::new(u64::MAX));
        (Numbers::new(Charge::new(std::sync::Arc::clone(&total))), total)
    }

    fn piece(number: u8) -> Piece {
        let all = Bytes::copy_from_slice(&[number]);
        Piece { shown: all.clone(), all }
    }

    /// Reads to the end: all bytes, and the end.
    fn read(log: &Numbers, id: ReaderId) -> (Vec<u8>, &'static str) {
        block_on(async {
            let view = |(): &()| Some(View::All);
            match poll_fn(|context| log.poll_begin(id, view, 0, context)).await {
                Begun::Live(()) => {}
                Begun::Ended(end) => return (Vec::new(), end),
                Begun::Apart | Begun::Behind => return (Vec::new(), "lost"),
            }
            let mut read = Vec::new();
            loop {
                match poll_fn(|context| log.poll_next(id, 0, context)).await {
                    Next::Piece(bytes, end) => {
                        read.extend_from_slice(&bytes);
                        if let Some(end) = end {
                            return (read, end);
                        }
                    }
                    Next::End(end) => return (read, end),
                    Next::Behind => return (read, "behind"),
                }
            }
        })
    }

    #[test]
    fn two_readers_read_everything_once_and_then_the_end() {
        model(|| {
            let log = Arc::new(numbers());
            let readers: Vec<_> = (0..2)
                .map(|number| {
                    let (log, id) = (Arc::clone(&log), log.attach(number, 0));
                    thread::spawn(move || {
                        assert_eq!(read(&log, id), (vec![1, 2, 3], "end"));
                        log.detach(id);
                    })
                })
                .collect();
            log.open(());
            log.append(piece(1), 0);
            log.append(piece(2), 0);
            log.finish(std::iter::once(piece(3)), "end", 0);
            for reader in readers {
                reader.join().unwrap();
            }
            assert_eq!(log.readers(), 0);
        });
    }

    #[test]
    fn who_joins_late_reads_from_the_start() {
        model(|| {
            let log = Arc::new(numbers());
            log.open(());
            let late = {
                let log = Arc::clone(&log);
                thread::spawn(move || {
                    let id = log.attach(0, 0);
                    assert_eq!(read(&log, id), (vec![1, 2], "end"));
                })
            };
            log.append(piece(1), 0);
            log.append(piece(2), 0);
            log.finish(std::iter::empty(), "end", 0);
            late.join().unwrap();
        });
    }

    #[test]
    fn the_writer_learns_that_the_last_reader_has_left() {
        model(|| {
            let log = Arc::new(numbers());
            let leaving: Vec<_> = (0..2)
                .map(|number| {
                    let (log, id) = (Arc::clone(&log), log.attach(number, 0));
                    thread::spawn(move || {
                        // One that waits, and goes without an answer.
                        let view = |(): &()| Some(View::All);
                        block_on(poll_fn(|context| {
                            let _ = log.poll_begin(id, view, 0, context);
                            Poll::Ready(())
                        }));
                        log.detach(id);
                    })
                })
                .collect();
            log.open(());
            log.append(piece(1), 0);
            block_on(poll_fn(|context| log.poll_deserted(context)));
            assert_eq!(log.readers(), 0);
            for leaving in leaving {
                leaving.join().unwrap();
            }
        });
    }

    #[test]
    fn a_failed_attempt_is_read_to_its_error_or_not_at_all() {
        model(|| {
            let log = Arc::new(numbers());
            let id = log.attach(0, 0);
            let reader = {
                let log = Arc::clone(&log);
                thread::spawn(move || read(&log, id))
            };
            log.open(());
            log.append(piece(1), 0);
            log.append(piece(2), 0);
            let failing = Failing { begun: "error", leader: None, with_leader: |_: &u8| false };
            let waiting = log.fail(None, failing, 0);
            log.open(());
            log.append(piece(7), 0);
            log.finish(std::iter::once(piece(8)), "end", 0);
            let expected = if waiting == 1 { (vec![7, 8], "end") } else { (vec![1, 2], "error") };
            assert_eq!(reader.join().unwrap(), expected);
        });
    }

    #[test]
    fn the_writer_waits_for_the_fastest_reader_and_is_woken() {
        model(|| {
            let log = Arc::new(numbers());
            let id = log.attach(0, 0);
            log.open(());
            log.outgrow(0);
            let large = Bytes::from(vec![0; 2 << 20]);
            log.append(Piece { shown: large.clone(), all: large }, 0);
            let reader = {
                let log = Arc::clone(&log);
                thread::spawn(move || read(&log, id).1)
            };
            block_on(poll_fn(|context| log.poll_room(context)));
            log.finish(std::iter::once(piece(1)), "end", 0);
            assert_eq!(reader.join().unwrap(), "end");
        });
    }

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Wakes(std::sync::atomic::AtomicUsize);

    impl std::task::Wake for Wakes {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }

    #[test]
    fn a_reader_that_moves_wakes_the_writer_only_where_it_waits_for_room() {
        model(|| {
            let wakes = std::sync::Arc::new(Wakes::default());
            let waker = std::sync::Arc::clone(&wakes).into();
            let mut writer = std::task::Context::from_waker(&waker);
            let woken = || wakes.0.load(std::sync::atomic::Ordering::SeqCst);
            let (log, total) = counted();
            let id = log.attach(0, 0);
            log.open(());
            log.outgrow(0);
            (1..=3).for_each(|number| log.append(piece(number), 0));
            let next = || {
                block_on(async {
                    let view = |(): &()| Some(View::All);
                    let _ = poll_fn(|context| log.poll_begin(id, view, 0, context)).await;
                    poll_fn(|context| log.poll_next(id, 0, context)).await
                })
            };
            assert_eq!((log.poll_room(&mut writer), total.kept()), (Poll::Ready(()), 3));
            // It waits for the provider, and for the case that everybody leaves.
            assert_eq!(log.poll_deserted(&mut writer), Poll::Pending);
            for left in [2, 1, 0] {
                assert!(matches!(next(), Next::Piece(_, None)));
                assert_eq!((woken(), total.kept()), (0, left), "what is read is dropped");
            }
            let large = Bytes::from(vec![0; 2 << 20]);
            log.append(Piece { shown: large.clone(), all: large }, 0);
            assert_eq!(log.poll_room(&mut writer), Poll::Pending);
            assert!(matches!(next(), Next::Piece(_, None)));
            assert_eq!(woken(), 1);
        });
    }

    #[test]
    fn who_is_dismissed_learns_it_and_nothing_is_kept() {
        model(|| {
            let (log, total) = counted();
            let log = Arc::new(log);
            let id = log.attach(7, 0);
            log.open(());
            log.append(piece(1), 0);
            let reader = {
                let log = Arc::clone(&log);
                thread::spawn(move || read(&log, id))
            };
            assert_eq!(log.dismiss(), [7]);
            assert_eq!((log.readers(), total.kept()), (0, 0));
            let (read, end) = reader.join().unwrap();
            assert!(matches!((read.as_slice(), end), ([], "lost") | ([] | [1], "behind")));
        });
    }
}
