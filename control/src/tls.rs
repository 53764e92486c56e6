//! Mutual TLS: who connects must show a certificate that the CA has signed.

mod clients;
mod connection;
pub mod expiry;
mod peer;
mod refusal;
mod rotation;

pub(crate) use clients::watched;
pub(crate) use connection::Connection;
pub(crate) use peer::{PREFIX, Peer};
pub(crate) use refusal::refusal;
pub(crate) use rotation::Rotation;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

/// PEM files of mutual TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The server's certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Who must have signed the clients' certificates.
    pub ca: PathBuf,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("`{path}` cannot be read: `fairway-control certs --out DIR` makes a set of certificates")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds no PEM of the wanted kind.
    #[error("`{path}` is not a PEM file with {expected}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// Why not.
        source: pem::Error,
    },
    /// The CA file cannot be used.
    #[error("`{path}` cannot be used as the CA of the agents")]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why.
        source: VerifierBuilderError,
    },
    /// Certificate and key cannot be used together.
    #[error("certificate `{cert}` and key `{key}` cannot be used together")]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// What the files hold.
struct Loaded {
    config: Arc<ServerConfig>,
    ends: Vec<expiry::End>,
}

/// Reads the files and sets TLS up for HTTP/2.
///
/// # Errors
/// The file and what is wrong with it.
fn load(tls: &Tls) -> Result<Loaded, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (authorities, own) = (certificates(&tls.ca)?, certificates(&tls.cert)?);
    let ends = expiry::ends(&tls.ca, &authorities).chain(expiry::ends(&tls.cert, &own)).collect();
    let mut roots = RootCertStore::empty();
    for certificate in authorities {
        // What is no usable CA shows when the verifier finds no root at all.
        let _ = roots.add(certificate);
    }
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|source| TlsError::Ca { path: tls.ca.clone(), source })?;
    let pair = |source| TlsError::Pair { cert: tls.cert.clone(), key: tls.key.clone(), source };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_client_cert_verifier(Arc::new(clients::Clients(clients)))
        .with_single_cert(own, key(&tls.key)?)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would not show its certificate again, which may have expired since.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Loaded { config: Arc::new(config), ends })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::File { path: path.to_owned(), source })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |source| TlsError::Pem { path: path.to_owned(), expected: "certificates", source };
    let bytes = read(path)?;
    let all = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>().map_err(bad)?;
    if all.is_empty() { Err(bad(pem::Error::NoItemsFound)) } else { Ok(all) }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|source| TlsError::Pem {
        path: path.to_owned(),
        expected: "a private key",
        source,
    })
}
