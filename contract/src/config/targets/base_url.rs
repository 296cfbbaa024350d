//! `base_url`: an address without the request's own path.

use std::fmt;
use std::net::IpAddr;

/// An address: `https://host:port/prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BaseUrl {
    /// Whether TLS is spoken.
    pub scheme: Scheme,
    /// A name or an IP address, an IPv6 address without its brackets.
    pub host: String,
    /// The port; the scheme's own where the text has none.
    pub port: u16,
    /// What stands before the request's own path: empty, or `/…` without a slash at its end.
    pub path_prefix: String,
}

/// The scheme of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

/// Reads the address of a target, or says what is wrong with it.
pub(super) fn parse(text: &str) -> Result<BaseUrl, String> {
    let url = parse_any(text)?;
    if url.path_prefix.ends_with("/v1") {
        return Err(
            "ends in /v1, but the request's own path (/v1/…) follows it; leave /v1 out".to_owned()
        );
    }
    Ok(url)
}

/// Reads an address with whatever path, or says what is wrong with it.
pub(in super::super) fn parse_any(text: &str) -> Result<BaseUrl, String> {
    // The text is not repeated: it may hold a password.
    if text.contains(['?', '#', '@']) {
        return Err("must not have a query, a fragment, a user name or a password".to_owned());
    }
    let uri: http::Uri = text.parse().map_err(|error| format!("is no URL: {error}"))?;
    let scheme = match uri.scheme_str() {
        Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        Some(_) | None => return Err("must begin with http:// or https://".to_owned()),
    };
    let port_is_bad = uri.authority().is_some_and(|authority| {
        authority.port_u16().is_none_or(|port| port == 0) && authority.as_str() != authority.host()
    });
    if port_is_bad {
        return Err("has a port that is not between 1 and 65535".to_owned());
    }
    let host = uri.host().unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return Err("names no host".to_owned());
    }
    let path_prefix = uri.path().trim_end_matches('/');
    Ok(BaseUrl {
        scheme,
        // Names have no case; the model gate needs one spelling of an address.
        host: host.to_ascii_lowercase(),
        port: uri.port_u16().unwrap_or(scheme.default_port()),
        path_prefix: path_prefix.to_owned(),
    })
}

// === impl Scheme ===

impl Scheme {
    /// The port where the address names none.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// The word before `://`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

// === impl BaseUrl ===

impl BaseUrl {
    /// The value of the `host` header: the port only where it is not the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        let Self { scheme, host, port, .. } = self;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        if *port == scheme.default_port() { host } else { format!("{host}:{port}") }
    }

    /// The host as an IP address, where it is one and no name.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Whether the address never leaves the machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.ip().is_some_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.as_str(), self.authority(), self.path_prefix)
    }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[test]
    fn one_address_has_one_spelling() {
        for spelling in
            ["https://API.example.com", "https://api.example.com:443/", "https://api.example.com"]
        {
            assert_eq!(
                parse(spelling).unwrap().to_string(),
                "https://api.example.com",
                "{spelling}"
            );
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn an_address_is_taken_apart_and_put_together() {
        for (text, host, port, path_prefix, again) in [
            ("https://api.openai.com", "api.openai.com", 443, "", "https://api.openai.com"),
            ("http://127.0.0.1:41900/", "127.0.0.1", 41900, "", "http://127.0.0.1:41900"),
            ("http://[::1]:80/a/b/", "::1", 80, "/a/b", "http://[::1]/a/b"),
            ("https://proxy:8443/openai", "proxy", 8443, "/openai", "https://proxy:8443/openai"),
        ] {
            let url = parse(text).unwrap();
            assert_eq!((url.host.as_str(), url.port), (host, port), "{text}");
            assert_eq!(url.path_prefix, path_prefix, "{text}");
            assert_eq!(url.to_string(), again, "{text}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "api.openai.com",
            "/v1",
            "ftp://host",
            "https://",
            "https://host:0",
            "https://host:99999",
            "https://host:",
            "https://user:secret@host",
            "https://host/?key=secret",
            "https://host/#part",
            "https://host/v1",
            "https://host/v1/",
            "https://ho st",
        ] {
            let problem = parse(text).unwrap_err();
            assert!(!problem.contains("secret"), "{text}: {problem}");
        }
    }
}
