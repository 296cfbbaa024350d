//! The sidecar's admin API, from the side of the one who asks.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use http::StatusCode;
use kt_contract::time::UnixMillis;
use kt_contract::wire::admin::ErrorReply;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::{AUDIT_TIMEOUT, Answer, Question, Unanswered};
use crate::failure::Failure;
use crate::paths;
use crate::run_dir;

/// The admin socket of one sidecar.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    socket: PathBuf,
}

/// Why something that must not happen twice has no answer that says so.
#[derive(Clone, Debug)]
pub(crate) enum NotDone {
    /// It has not happened.
    Surely(Failure),
    /// Nobody knows whether it has.
    Perhaps(Failure),
}

// === impl Admin ===

impl Admin {
    /// The admin socket lies beside the data socket.
    pub(crate) fn beside(data_socket: &Path) -> Self {
        let mut socket = data_socket.as_os_str().to_owned();
        socket.push(".admin");
        Self { socket: PathBuf::from(socket) }
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where nobody has said which sidecar: the data sockets of those that gateways spawned here.
    pub(crate) fn others(&self) -> Vec<PathBuf> {
        match self.socket == Self::beside(Path::new(paths::SIDECAR_SOCKET)).socket {
            true => of_gateways(Path::new(paths::RUN_DIRS)),
            false => Vec::new(),
        }
    }

    /// An answer, and the moment that it says it was made at.
    pub(crate) async fn get_dated<R: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<(R, Option<UnixMillis>), Failure> {
        let question = Question::get(path);
        let answer = question.ask(&self.socket).await.map_err(|error| self.unanswered(&error))?;
        Ok((read(&answer)?, answer.date()))
    }

    pub(crate) async fn get<R: DeserializeOwned>(&self, path: &str) -> Result<R, Failure> {
        self.ask(Question::get(path)).await
    }

    /// Asks for something that reads a whole ledger.
    pub(crate) async fn get_patiently<R: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<R, Failure> {
        self.ask(Question { patience: AUDIT_TIMEOUT, ..Question::get(path) }).await
    }

    pub(crate) async fn post<Q: Serialize + Sync, R: DeserializeOwned>(
        &self,
        path: &str,
        body: &Q,
    ) -> Result<R, Failure> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Failure::new(format!("cannot write the question: {error}")))?;
        self.ask(Question::post(path, body)).await
    }

    /// Asks for something that reads a whole ledger.
    pub(crate) async fn post_patiently<R: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<R, Failure> {
        let question = Question::post(path, Vec::new());
        self.ask(Question { patience: AUDIT_TIMEOUT, ..question }).await
    }

    /// The same with a question.
    pub(crate) async fn post_patiently_with<Q: Serialize + Sync, R: DeserializeOwned>(
        &self,
        path: &str,
        body: &Q,
    ) -> Result<R, Failure> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Failure::new(format!("cannot write the question: {error}")))?;
        let question = Question::post(path, body);
        self.ask(Question { patience: AUDIT_TIMEOUT, ..question }).await
    }

    /// An answer that is no JSON value.
    pub(crate) async fn text(&self, path: &str) -> Result<String, Failure> {
        let question = Question::get(path);
        let answer = question.ask(&self.socket).await.map_err(|error| self.unanswered(&error))?;
        if answer.status.is_success() {
            return Ok(String::from_utf8_lossy(&answer.body).into_owned());
        }
        Err(refusal(&answer))
    }

    /// Asks for what must not happen twice; `key` tells it from everything else that is asked for.
    pub(crate) async fn post_once<Q: Serialize + Sync, R: DeserializeOwned>(
        &self,
        path: &str,
        key: &str,
        body: &Q,
    ) -> Result<R, NotDone> {
        let body = serde_json::to_vec(body).map_err(|error| {
            NotDone::Surely(Failure::new(format!("cannot write the question: {error}")))
        })?;
        let question = Question { idempotency_key: Some(key), ..Question::post(path, body) };
        let answer = match question.ask(&self.socket).await {
            Ok(answer) => answer,
            Err(error @ Unanswered::Connect(_)) => {
                return Err(NotDone::Surely(self.unanswered(&error)));
            }
            Err(error @ (Unanswered::Broken(_) | Unanswered::TooLate(_))) => {
                return Err(NotDone::Perhaps(self.unanswered(&error)));
            }
        };
        let is_unknown = answer.status.is_success() || answer.status.is_server_error();
        read(&answer).map_err(if is_unknown { NotDone::Perhaps } else { NotDone::Surely })
    }

    async fn ask<R: DeserializeOwned>(&self, question: Question<'_>) -> Result<R, Failure> {
        let answer = question.ask(&self.socket).await.map_err(|error| self.unanswered(&error))?;
        read(&answer)
    }

    fn unanswered(&self, error: &Unanswered) -> Failure {
        let socket = self.socket.display();
        let failure = Failure::new(format!("no sidecar answers at {socket}: {error}"));
        let others = self.others();
        if others.is_empty() {
            return failure.hint(
                "start one with `make run` or `kt gateway run`, or name the socket of a running one \
                 with --sidecar or KT_SIDECAR",
            );
        }
        let lines: Vec<_> = others
            .iter()
            .map(|socket| format!("\n    KT_SIDECAR={} kt gateway status", socket.display()))
            .collect();
        failure.hint(format!(
            "a gateway runs one of its own; name the one you mean:{}",
            lines.concat()
        ))
    }
}

/// The data sockets of the sidecars that gateways spawned and that somebody listens on, in the order of their names.
fn of_gateways(run_dirs: &Path) -> Vec<PathBuf> {
    let Ok(folders) = std::fs::read_dir(run_dirs) else { return Vec::new() };
    let mut sockets: Vec<_> = folders
        .filter_map(Result::ok)
        .map(|folder| folder.path().join(run_dir::SIDECAR_SOCKET))
        .filter(|socket| UnixStream::connect(Admin::beside(socket).socket).is_ok())
        .collect();
    sockets.sort();
    sockets
}

fn read<R: DeserializeOwned>(answer: &Answer) -> Result<R, Failure> {
    if answer.status.is_success() {
        return serde_json::from_slice(&answer.body).map_err(|error| {
            Failure::new(format!("the sidecar's answer is not what this kt understands: {error}"))
                .hint("kt and sidecar-cache should be of one version")
        });
    }
    Err(refusal(answer))
}

fn refusal(answer: &Answer) -> Failure {
    match serde_json::from_slice::<ErrorReply>(&answer.body) {
        Ok(ErrorReply { error }) => Failure::new(error.message),
        Err(_unknown) if answer.status == StatusCode::NOT_FOUND => {
            Failure::new("the sidecar does not know this question")
                .hint("kt and sidecar-cache should be of one version")
        }
        Err(_unknown) => Failure::new(format!("the sidecar answered {}", answer.status)),
    }
}
