//! Letting running requests finish: Envoy stops taking new clients, and `kt` waits until nothing runs.

use std::path::Path;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::client::Question;
use crate::report;

const POLL: Duration = Duration::from_millis(50);
/// Only the inbound listener: the sidecar still needs egress for the flights that run.
const CLOSE_INGRESS: &str = "/drain_listeners?inboundonly";
const ACTIVE: &str = "/stats?filter=%5Ehttp%5C.%28ingress%7Cegress%29%5C.downstream_rq_active%24";

/// Closes ingress, then waits until no request runs, at most for `longest`.
pub(crate) async fn wait(admin: &Path, longest: Duration) {
    if Question::post(CLOSE_INGRESS, Vec::new()).ask(admin).await.is_err() {
        // An Envoy that is not there has nothing to finish.
        return;
    }
    let idle = async {
        let mut told = false;
        while let Some(active) = active(admin).await.filter(|active| *active > 0) {
            if !told {
                told = true;
                let seconds = longest.as_secs();
                report::note(format_args!(
                    "{active} requests run; waiting up to {seconds} s for them"
                ));
            }
            sleep(POLL).await;
        }
    };
    if timeout(longest, idle).await.is_err() {
        report::note("some requests did not finish in time; they are cut off");
    }
}

/// How many requests run; `None` if nobody knows.
async fn active(admin: &Path) -> Option<u64> {
    let answer = Question::get(ACTIVE).ask(admin).await.ok()?;
    let text = std::str::from_utf8(&answer.body).ok()?;
    sum(text)
}

/// The sum of lines like `http.ingress.downstream_rq_active: 2`.
fn sum(text: &str) -> Option<u64> {
    text.lines().map(|line| line.split_once(": ")?.1.trim().parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_on_both_listeners_count() {
        let text = "http.egress.downstream_rq_active: 1\nhttp.ingress.downstream_rq_active: 2\n";
        assert_eq!(sum(text), Some(3));
        assert_eq!(sum(""), Some(0));
        assert_eq!(sum("no such page"), None);
    }
}
