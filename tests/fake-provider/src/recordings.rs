//! Recorded exchanges, to be played back as they were: status, headers and every byte of the body. A folder
//! holds `NAME.json` (path, request, status, headers) and beside it the file that its `response` names.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use bytes::Bytes;
use serde::Deserialize;

/// All recordings by name, shared by all connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recordings(Arc<HashMap<String, Recording>>);

/// One exchange's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recording {
    /// The status.
    pub(crate) status: u16,
    /// The headers, but for those that frame the body.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Bytes,
}

#[derive(Deserialize)]
struct Index {
    status: u16,
    headers: BTreeMap<String, Vec<String>>,
    response: PathBuf,
}

/// What the connection to us has of its own.
const FRAMING: [&str; 4] = ["connection", "content-length", "keep-alive", "transfer-encoding"];

// === impl Recordings ===

impl Recordings {
    /// Reads all of `folders`.
    ///
    /// # Errors
    /// Where a file cannot be read, or is no recording.
    pub(crate) fn load(folders: &[PathBuf]) -> io::Result<Self> {
        let mut all = HashMap::new();
        for folder in folders {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let Some(name) = file.strip_suffix(".json") else { continue };
                if !name.ends_with(".body") {
                    let recording = Recording::load(folder, &path).map_err(|problem| {
                        io::Error::other(format!("{}: {problem}", path.display()))
                    })?;
                    all.insert(name.to_owned(), recording);
                }
            }
        }
        Ok(Self(Arc::new(all)))
    }

    /// The recording of that name.
    #[must_use]
    pub(crate) fn get(&self, name: &str) -> Option<&Recording> {
        self.0.get(name)
    }
}

// === impl Recording ===

impl Recording {
    fn load(folder: &Path, path: &Path) -> io::Result<Self> {
        let index: Index = serde_json::from_slice(&fs::read(path)?)?;
        let headers = index.headers.into_iter().flat_map(|(name, values)| {
            values.into_iter().map(move |value| (name.to_ascii_lowercase(), value))
        });
        Ok(Self {
            status: index.status,
            headers: headers.filter(|(name, _)| !FRAMING.contains(&name.as_str())).collect(),
            body: fs::read(folder.join(index.response))?.into(),
        })
    }

    /// Whether the body is a stream of events.
    #[must_use]
    pub(crate) fn streams(&self) -> bool {
        let of_type = |(name, value): &(String, String)| {
            name == "content-type" && value.starts_with("text/event-stream")
        };
        self.headers.iter().any(of_type)
    }

    /// The body in the events that it consists of, or whole.
    #[must_use]
    pub(crate) fn pieces(&self) -> Vec<Bytes> {
        if !self.streams() {
            return vec![self.body.clone()];
        }
        let mut rest = self.body.clone();
        let mut pieces = Vec::new();
        while let Some(end) = event_end(&rest) {
            pieces.push(rest.split_to(end));
        }
        pieces.extend((!rest.is_empty()).then_some(rest));
        pieces
    }
}

/// Behind the first blank line. In one pass: a stream of hundreds of events is cut at each of them.
fn event_end(bytes: &[u8]) -> Option<usize> {
    let ends: [&[u8]; 3] = [b"\n\n", b"\r\n\r\n", b"\r\r"];
    (0..bytes.len()).find_map(|at| {
        let rest = bytes.get(at..)?;
        let end = ends.iter().find(|end| rest.starts_with(end))?;
        Some(at + end.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(content_type: &str, body: &'static str) -> Recording {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Recording { status: 200, headers, body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn a_stream_falls_into_events_and_nothing_is_lost() {
        for body in ["data: a\n\ndata: b\n\n", "data: a\r\n\r\n: c\r\n\r\ndata: b", ""] {
            let pieces = recording("text/event-stream", body).pieces();
            assert_eq!(pieces.concat(), body.as_bytes());
            assert!(pieces.iter().rev().skip(1).all(|piece| event_end(piece) == Some(piece.len())));
        }
        assert_eq!(recording("text/event-stream; charset=utf-8", "a\n\nb\n\n").pieces().len(), 2);
        assert_eq!(recording("application/json", "a\n\nb\n\n").pieces().len(), 1);
    }
}
