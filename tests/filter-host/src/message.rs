//! HTTP messages as tests write and read them.

use crate::headers::HeaderMap;

/// What went past the filter in one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// The headers.
    pub headers: HeaderMap,
    /// The body so far.
    pub body: Vec<u8>,
    /// The trailers; empty without any.
    pub trailers: HeaderMap,
    /// Whether the end has passed.
    pub complete: bool,
}

/// A request or a response that a test sends through the filter.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub(crate) headers: HeaderMap,
    pub(crate) chunks: Vec<Vec<u8>>,
    pub(crate) trailers: Option<HeaderMap>,
}

// === impl Passed ===

impl Passed {
    pub(crate) fn of(headers: HeaderMap) -> Self {
        Self { headers, ..Self::default() }
    }

    /// The status of a response; 0 if there is none.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.header(":status").and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// The first value of a header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.text(name)
    }

    /// The body as text; bytes that are none are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

// === impl Message ===

impl Message {
    /// A request as a client sends it.
    #[must_use]
    pub fn request(method: &str, path: &str) -> Self {
        Self {
            headers: HeaderMap::of([
                (":method", method),
                (":scheme", "http"),
                (":authority", "gateway.test"),
                (":path", path),
            ]),
            ..Self::default()
        }
    }

    /// A response as an upstream sends it.
    #[must_use]
    pub fn response(status: u16) -> Self {
        Self { headers: HeaderMap::of([(":status", status.to_string())]), ..Self::default() }
    }

    /// Its headers.
    #[must_use]
    pub const fn head(&self) -> &HeaderMap {
        &self.headers
    }

    /// Its body in one piece.
    #[must_use]
    pub fn whole_body(&self) -> Vec<u8> {
        self.chunks.concat()
    }

    /// Adds a header; one more value if it is there.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.add(name.as_bytes(), value.as_ref());
        self
    }

    /// Sets a header to one value.
    #[must_use]
    pub fn replacing(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.replace(name.as_bytes(), value.as_ref());
        self
    }

    /// The body in one piece, with its `content-length`.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        self.headers.replace(b"content-length", body.len().to_string().as_bytes());
        self.chunks = vec![body.to_vec()];
        self
    }

    /// The body in these pieces, with no `content-length`.
    #[must_use]
    pub fn chunks<C: AsRef<[u8]>>(mut self, chunks: impl IntoIterator<Item = C>) -> Self {
        self.chunks = chunks.into_iter().map(|chunk| chunk.as_ref().to_vec()).collect();
        self
    }

    /// Trailers after the body.
    #[must_use]
    pub fn trailers(mut self, trailers: HeaderMap) -> Self {
        self.trailers = Some(trailers);
        self
    }
}
