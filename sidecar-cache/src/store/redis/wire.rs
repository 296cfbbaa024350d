//! One connection to one server: opened within its budget, and watched frame by frame.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ErrorKind, IntoConnectionInfo, Pipeline,
    RedisConnectionInfo, RedisError, RedisFuture, Value,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::{CONNECT_BUDGET, HANDSHAKE_BUDGET, REPLY_BYTES_MAX, SETUP_BUDGET, tls};
use crate::resp::Frames;

/// A connection that many commands share. Its last clone hangs up.
#[derive(Clone)]
pub(super) struct Wire {
    connection: MultiplexedConnection,
    _driver: Arc<Driver>,
}

struct Driver(AbortHandle);

/// A stream that breaks with the first byte that must not be parsed.
struct Watched<S> {
    stream: S,
    frames: Frames,
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

// === impl Wire ===

impl Wire {
    /// Connects, by TLS where the address says so, and logs in.
    pub(super) async fn open(
        at: &ConnectionAddr,
        login: &RedisConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> Result<Self, RedisError> {
        let stream = connect(at).await?;
        let stream = Watched { stream, frames: Frames::new(REPLY_BYTES_MAX) };
        let setup = MultiplexedConnection::new_with_config(login, stream, config);
        let logged_in = timeout(SETUP_BUDGET, setup).await.map_err(|_| late("log in"))?;
        let (connection, driver) = logged_in.map_err(|error| told(error, at))?;
        let driver = Arc::new(Driver(tokio::spawn(driver).abort_handle()));
        Ok(Self { connection, _driver: driver })
    }
}

impl ConnectionLike for Wire {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        self.connection.req_packed_command(cmd)
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.connection.req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }
}

impl redis::cluster_async::Connect for Wire {
    fn connect_with_config<'a, T>(info: T, config: AsyncConnectionConfig) -> RedisFuture<'a, Self>
    where
        T: IntoConnectionInfo + Send + 'a,
    {
        Box::pin(async move {
            let info = info.into_connection_info()?;
            Self::open(info.addr(), info.redis_settings(), config).await
        })
    }
}

async fn connect(at: &ConnectionAddr) -> Result<Box<dyn Duplex>, RedisError> {
    match at {
        ConnectionAddr::Tcp(host, port) => Ok(Box::new(tcp(host, *port).await?)),
        ConnectionAddr::TcpTls { host, port, insecure: false, .. } => {
            let encrypting = tls::encrypt(host, tcp(host, *port).await?);
            let encrypted = timeout(HANDSHAKE_BUDGET, encrypting).await;
            Ok(Box::new(encrypted.map_err(|_| late("answer by TLS: is this its port for TLS?"))??))
        }
        ConnectionAddr::Unix(path) => {
            Ok(Box::new(within(CONNECT_BUDGET, UnixStream::connect(path)).await?))
        }
        ConnectionAddr::TcpTls { .. } | _ => {
            Err((ErrorKind::InvalidClientConfig, "neither TCP nor a Unix socket").into())
        }
    }
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, RedisError> {
    let stream = within(CONNECT_BUDGET, TcpStream::connect((host, port))).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn within<T>(
    budget: Duration,
    connecting: impl Future<Output = io::Result<T>>,
) -> Result<T, RedisError> {
    Ok(timeout(budget, connecting).await.map_err(|_| late("connect"))??)
}

fn late(what: &str) -> RedisError {
    io::Error::new(io::ErrorKind::TimedOut, format!("it took too long to {what}")).into()
}

/// Why a login has failed, with what may be behind it.
fn told(error: RedisError, at: &ConnectionAddr) -> RedisError {
    let hint = match at {
        // Who expects TLS hangs up, or answers in TLS.
        ConnectionAddr::Tcp(..) if error.is_connection_dropped() => {
            "does it want TLS? Its address then begins with rediss"
        }
        // As TLS 1.3 has it, it says so after the handshake.
        ConnectionAddr::TcpTls { .. } if error.to_string().contains("CertificateRequired") => {
            "it wants a certificate of its clients, who have none: tls-auth-clients no"
        }
        ConnectionAddr::Tcp(..) | ConnectionAddr::TcpTls { .. } | ConnectionAddr::Unix(_) | _ => {
            return error;
        }
    };
    io::Error::other(format!("{error} ({hint})")).into()
}

// === impl Driver ===

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

// === impl Watched ===

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let Self { stream, frames } = &mut *self;
        std::task::ready!(Pin::new(stream).poll_read(context, buffer))?;
        let came = buffer.filled().get(before..).unwrap_or_default();
        if let Err(hostile) = frames.feed(came) {
            // Nothing of it reaches the parser.
            buffer.set_filled(before);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, hostile)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
