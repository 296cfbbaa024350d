//! What the proxy does to a connection, seen from its ends.

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::time::Duration;

    use kt_fault_proxy::{Door, Fault, Faults, Loss, Proxy};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::{Instant, timeout};

    /// A service that says what it is told, behind a proxy.
    async fn echo() -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        Proxy::start(port).await.unwrap()
    }

    async fn client(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap()
    }

    async fn say(stream: &mut TcpStream, words: &[u8]) -> Vec<u8> {
        stream.write_all(words).await.unwrap();
        let mut answer = vec![0; words.len()];
        stream.read_exact(&mut answer).await.unwrap();
        answer
    }

    /// What still comes until the connection ends, and how it does.
    async fn rest(stream: &mut TcpStream) -> (Vec<u8>, Option<ErrorKind>) {
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest).await;
        (rest, ended.err().map(|error| error.kind()))
    }

    #[tokio::test]
    async fn without_a_fault_everything_passes() {
        let proxy = echo().await;
        let mut stream = client(&proxy).await;
        let large = vec![7; 1 << 20];
        let (mut from, mut to) = stream.split();
        let mut answer = vec![0; large.len()];
        let (sent, read) = tokio::join!(to.write_all(&large), from.read_exact(&mut answer));
        assert!(sent.is_ok() && read.is_ok() && answer == large);
        to.shutdown().await.unwrap();
        assert_eq!(rest(&mut stream).await, (Vec::new(), None));
        assert_eq!((proxy.connections(), proxy.resets()), (1, 0));
    }

    #[tokio::test]
    async fn a_delay_is_waited_for() {
        let proxy = echo().await;
        let mut stream = client(&proxy).await;
        proxy.set(Faults::of_answers(Fault::Delay(Duration::from_millis(100))));
        let before = Instant::now();
        assert_eq!(say(&mut stream, b"a").await, b"a");
        assert!(before.elapsed() >= Duration::from_millis(100));
    }

    #[tokio::test]
    async fn silence_in_one_direction_leaves_the_other() {
        for faults in [Faults::of_requests(Fault::Drop), Faults::of_answers(Fault::Drop)] {
            let proxy = echo().await;
            let mut stream = client(&proxy).await;
            proxy.set(faults);
            stream.write_all(b"lost").await.unwrap();
            let mut one = [0];
            let silent = timeout(Duration::from_millis(100), stream.read(&mut one)).await;
            assert!(silent.is_err(), "the connection looks open");
            proxy.heal();
            assert_eq!(say(&mut stream, b"heard").await, b"heard");
        }
    }

    #[tokio::test]
    async fn a_cut_lets_so_many_bytes_through() {
        for (fault, ended) in [
            (Fault::ResetAfter(3), Some(ErrorKind::ConnectionReset)),
            (Fault::CloseAfter(3), None),
            (Fault::CloseAfter(0), None),
        ] {
            let proxy = echo().await;
            let mut stream = client(&proxy).await;
            proxy.set(Faults::of_answers(fault.clone()));
            stream.write_all(b"abcdef").await.unwrap();
            let (rest, how) = rest(&mut stream).await;
            assert_eq!(how, ended, "{fault:?}");
            // A reset may take with it what has arrived and was not read.
            assert!(b"abc".starts_with(&rest), "{fault:?}");
        }
    }

    #[tokio::test]
    async fn every_so_manyth_piece_is_a_reset() {
        let proxy = echo().await;
        proxy.set(Faults::of_answers(Fault::ResetEvery(3)));
        for _ in 0..3 {
            let mut stream = client(&proxy).await;
            for _ in 0..2 {
                assert_eq!(say(&mut stream, b"a").await, b"a");
            }
            stream.write_all(b"a").await.unwrap();
            assert_eq!(rest(&mut stream).await, (Vec::new(), Some(ErrorKind::ConnectionReset)));
        }
        assert_eq!(proxy.resets(), 3);
    }

    #[tokio::test]
    async fn a_drip_takes_its_time() {
        let proxy = echo().await;
        let mut stream = client(&proxy).await;
        proxy.set(Faults::of_answers(Fault::Drip(Duration::from_millis(20))));
        let before = Instant::now();
        assert_eq!(say(&mut stream, b"abcdef").await, b"abcdef");
        assert!(before.elapsed() >= Duration::from_millis(100));
    }

    #[tokio::test]
    async fn a_lossy_line_loses_nothing_and_is_late() {
        let proxy = echo().await;
        let mut stream = client(&proxy).await;
        let again_after = Duration::from_millis(100);
        let (every, bytes_per_second) = (3, 1_000_000);
        let loss = Loss { every, again_after, bytes_per_second };
        proxy.set(Faults::of_answers(Fault::Lossy(loss)));
        // Five packets, of which one is sent twice.
        let words: Vec<u8> = (0..4 * 1_460 + 1_u32).map(|at| at.to_le_bytes()[0]).collect();
        let before = Instant::now();
        assert_eq!(say(&mut stream, &words).await, words);
        let wire = Duration::from_micros(words.len() as u64);
        assert!(before.elapsed() >= again_after + wire);
    }

    #[tokio::test]
    async fn a_narrow_line_is_one_for_all_connections() {
        let proxy = echo().await;
        let (mut one, mut other) = (client(&proxy).await, client(&proxy).await);
        let again_after = Duration::ZERO;
        let loss = Loss { every: u64::MAX, again_after, bytes_per_second: 10_000 };
        proxy.set(Faults::of_answers(Fault::Lossy(loss)));
        let before = Instant::now();
        let words = [7; 1_000];
        tokio::join!(say(&mut one, &words), say(&mut other, &words));
        assert!(before.elapsed() >= Duration::from_millis(200));
    }

    #[tokio::test]
    async fn other_bytes_arrive_once() {
        let proxy = echo().await;
        let mut stream = client(&proxy).await;
        proxy.set(Faults::of_answers(Fault::Replace(b"x".to_vec())));
        assert_eq!(say(&mut stream, b"a").await, b"x");
        proxy.heal();
        assert_eq!(say(&mut stream, b"b").await, b"b");
    }

    #[tokio::test]
    async fn a_door_that_is_shut_resets() {
        let proxy = echo().await;
        proxy.set(Faults { door: Door::Reset, ..Faults::default() });
        let mut stream = client(&proxy).await;
        assert_eq!(rest(&mut stream).await.1, Some(ErrorKind::ConnectionReset));
        proxy.heal();
        assert_eq!(say(&mut client(&proxy).await, b"a").await, b"a");
    }

    #[tokio::test]
    async fn new_connections_may_lead_elsewhere() {
        let (one, other) = (echo().await, echo().await);
        let mut before = client(&one).await;
        assert_eq!(say(&mut before, b"a").await, b"a");
        one.lead_to(other.port());
        assert_eq!(say(&mut client(&one).await, b"b").await, b"b");
        assert_eq!(say(&mut before, b"c").await, b"c");
        assert_eq!((one.connections(), other.connections()), (2, 1));
    }
}
