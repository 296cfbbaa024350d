//! The proxy as a program, for tests that are not written in Rust: `kt-fault-proxy SERVICE_PORT`. It says its own port,
//! and then takes a line for what it is to do from now on, as [`Faults::parse`] reads it, or `lead-to=PORT` for where new
//! connections lead, and answers each with `ok` or with the word that it does not know. It ends with its input.

use std::io::{Error, Write as _, stdout};

use kt_fault_proxy::{Faults, Proxy};
use tokio::io::{AsyncBufReadExt as _, BufReader, stdin};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let port = port.ok_or_else(|| Error::other("usage: kt-fault-proxy SERVICE_PORT"))?;
    let proxy = Proxy::start(port).await?;
    say(&proxy.port().to_string())?;
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let service = line.strip_prefix("lead-to=").and_then(|port| port.parse().ok());
        if let Some(service) = service {
            proxy.lead_to(service);
            say("ok")?;
            continue;
        }
        match Faults::parse(&line) {
            Ok(faults) => {
                proxy.set(faults);
                say("ok")?;
            }
            Err(word) => say(&format!("what is '{word}'?"))?,
        }
    }
    Ok(())
}

fn say(line: &str) -> Result<(), Error> {
    let mut out = stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
