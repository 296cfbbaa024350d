//! Ports for servers of tests.

use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::ops::Range;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Ports that no outgoing connection is given: Linux takes those from 32768 up, unless told otherwise. One from
/// up there that is free now may be somebody's own end of a connection in a moment.
const PORTS: Range<u16> = 10_000..32_768;

/// How many ports lie between the first ones of two processes whose numbers follow each other.
const APART: u32 = 61;

/// How many were looked at.
static ASKED: AtomicU32 = AtomicU32::new(0);

/// A port of 127.0.0.1 that nobody listens on, and that this process was not given before.
///
/// # Errors
/// Where there is none.
pub fn free_port() -> io::Result<u16> {
    let first = process::id().wrapping_mul(APART);
    for _ in PORTS {
        let number = first.wrapping_add(ASKED.fetch_add(1, Ordering::Relaxed));
        let place = number % u32::from(PORTS.end - PORTS.start);
        let port = u16::try_from(place).map_or(PORTS.start, |place| PORTS.start + place);
        // Not by binding it: a process that another thread starts just then has the socket as well, until it is a
        // program of its own, and keeps the port taken.
        if let Err(error) = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            return Ok(port);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "every port that a test may take is taken"))
}
