//! TLS to Redis: whose certificates are believed, how a connection is encrypted, and what is told where that fails.
//! There is no way to believe everybody.

use std::io;
use std::sync::{Arc, OnceLock};

use redis::RedisError;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::store::StoreError;

/// What encrypts, or why nothing does. One for the process: who connects to the node of a cluster is handed its
/// address and nothing else. It is made once, so that sessions are resumed and a storm of reconnects costs little.
static CONNECTOR: OnceLock<Result<TlsConnector, String>> = OnceLock::new();

/// What encrypts: with the certificate authorities that this machine trusts or `SSL_CERT_FILE` names.
///
/// # Errors
/// Where none is trusted.
pub(super) fn connector() -> Result<TlsConnector, StoreError> {
    CONNECTOR.get_or_init(|| trusting(&trusted()?)).clone().map_err(StoreError::Permanent)
}

/// Encrypts what is said to a host from here on. Its certificate must be for that host.
pub(super) async fn encrypt(
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, RedisError> {
    let connector = connector().map_err(|error| io::Error::other(error.to_string()))?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| io::Error::other("its name can be in no certificate"))?;
    let encrypted = connector.connect(name, stream).await;
    encrypted.map_err(|error| io::Error::new(error.kind(), told(&error, host)).into())
}

fn trusted() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(format!(
            "no certificate authority is trusted here{why}: install the package ca-certificates, or name a \
             file with SSL_CERT_FILE"
        ));
    }
    for error in found.errors {
        tracing::warn!(%error, "a certificate authority is not read");
    }
    Ok(roots)
}

fn trusting(roots: &RootCertStore) -> Result<TlsConnector, String> {
    // By name: which one is the default hangs on what else is linked.
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// What went wrong, and what to do.
fn told(error: &io::Error, host: &str) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return "it hung up during the TLS handshake".to_owned();
    }
    let Some(cause) = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>()) else {
        return error.to_string();
    };
    if matches!(cause, Error::InvalidMessage(_)) {
        return "what answers there speaks no TLS: name its port for TLS, or begin the address with redis"
            .to_owned();
    }
    let Error::InvalidCertificate(refused) = cause else {
        return format!("TLS with it fails: {cause}");
    };
    if *refused == CertificateError::UnknownIssuer {
        "its certificate is by no authority that is trusted here: name that authority's file with SSL_CERT_FILE"
            .to_owned()
    } else if is_of_another(refused) {
        format!("its certificate is not for {host}: address it by a name that is in there")
    } else {
        format!("its certificate is refused: {refused}")
    }
}

const fn is_of_another(refused: &CertificateError) -> bool {
    matches!(
        refused,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_told_with_what_to_do() {
        for (cause, said) in [
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), "with SSL_CERT_FILE"),
            (Error::InvalidCertificate(CertificateError::NotValidForName), "is not for cache:"),
            (Error::InvalidCertificate(CertificateError::Expired), "is refused: "),
            (Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType), "speaks no TLS"),
            (Error::DecryptError, "TLS with it fails: "),
        ] {
            let error = io::Error::new(io::ErrorKind::InvalidData, cause);
            let told = told(&error, "cache");
            assert!(told.contains(said), "{told}");
        }
        let eof = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert!(told(&eof, "cache").contains("hung up"));
        assert_eq!(told(&io::Error::other("a reset"), "cache"), "a reset");
    }
}
