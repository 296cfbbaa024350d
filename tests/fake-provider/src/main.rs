//! A provider that speaks the dialects of OpenAI and Anthropic, counts its calls, and breaks on demand. For tests and
//! the quickstart; it checks nothing that a real provider would bill for. `README.md` has what it understands.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

use crate::server::Fake;
use crate::socket::{Ending, Socket};

mod answer;
mod clock;
mod dialect;
mod directive;
mod gates;
mod gzip;
mod journal;
mod plan;
mod play;
mod point;
mod recordings;
mod render;
mod request;
mod script;
mod server;
mod socket;

/// A provider that speaks the dialects of OpenAI and Anthropic, and every way to break, on demand.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Where to listen; port 0 takes any. The bound address is printed as a line of JSON.
    #[arg(long, default_value = "127.0.0.1:41900")]
    listen: SocketAddr,
    /// The time between two deltas of a stream, in milliseconds.
    #[arg(long, default_value_t = 20)]
    delta_ms: u64,
    /// The only API key to let in; without it, anybody is.
    #[arg(long)]
    api_key: Option<String>,
    /// A folder of recorded exchanges to play back by name; may be given several times.
    #[arg(long, value_name = "DIR")]
    recordings: Vec<PathBuf>,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let args = Args::parse();
    let pace = Duration::from_millis(args.delta_ms);
    let fake = Fake::new(pace, args.api_key, &args.recordings)?;
    let listener = TcpListener::bind(args.listen).await?;
    writeln!(std::io::stdout(), r#"{{"listening":"{}"}}"#, listener.local_addr()?)?;

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A connection that failed before it began concerns nobody here.
                if let Ok((stream, _)) = accepted {
                    tokio::spawn(serve(stream, fake.clone()));
                }
            }
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

async fn serve(stream: TcpStream, fake: Fake) {
    // Without it the kernel holds small deltas back and the pace is not what was asked for.
    let _ = stream.set_nodelay(true);
    let ending = Ending::default();
    let socket = TokioIo::new(Socket::new(stream, ending.clone()));
    let service = service_fn(move |request| fake.clone().answer(request, ending.clone()));
    // An error here is a client that left, or an end that was asked for; the journal has both.
    let _ = http1::Builder::new().timer(TokioTimer::new()).serve_connection(socket, service).await;
}
