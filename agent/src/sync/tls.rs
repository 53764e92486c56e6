//! Mutual TLS with the control plane: the files, and what an error means.

use std::path::{Path, PathBuf};

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::config::TlsFiles;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("`{path}` cannot be read")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("certificate `{cert}`, key `{key}` and CA `{ca}` cannot be used together")]
    Files {
        cert: PathBuf,
        key: PathBuf,
        ca: PathBuf,
        #[source]
        source: tonic::transport::Error,
    },
}

/// An endpoint with certificates. The files are read anew for each connection: they are replaced while the agent runs.
pub(super) fn secured(endpoint: Endpoint, files: &TlsFiles) -> Result<Endpoint, TlsError> {
    let read =
        |path: &Path| std::fs::read(path).map_err(|source| TlsError::File { path: path.to_owned(), source });
    let TlsFiles { cert, key, ca } = files;
    let config = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read(ca)?))
        .identity(Identity::from_pem(read(cert)?, read(key)?));
    endpoint.tls_config(config).map_err(|source| TlsError::Files {
        cert: cert.clone(),
        key: key.clone(),
        ca: ca.clone(),
        source,
    })
}

/// The reason why a connection failed, with the file that is to blame and what to do before it. What HTTP/2 leaves of TLS's
/// errors is their text, so it is by this that they are known.
pub(super) fn explained(reason: String, files: Option<&TlsFiles>) -> String {
    match files.and_then(|files| hint(&reason, files)) {
        Some(hint) => format!("{hint} ({reason})"),
        None => reason,
    }
}

fn hint(reason: &str, files: &TlsFiles) -> Option<String> {
    let (cert, ca) = (files.cert.display(), files.ca.display());
    let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    let hint = if says(&["alert: CertificateExpired"]) {
        format!("`{cert}` has expired: put a new one there, no restart is needed")
    } else if says(&["alert: UnknownCA", "alert: DecryptError", "alert: BadCertificate"]) {
        format!(
            "`{cert}` is signed by no CA that the control plane trusts: get one that its --tls-ca has signed"
        )
    } else if says(&["alert: CertificateRequired", "alert: UnsupportedCertificate", "alert: AccessDenied"]) {
        format!("the control plane does not take `{cert}`: agents need a certificate for clients")
    } else if says(&["peer certificate: UnknownIssuer", "peer certificate: BadSignature"]) {
        format!("the control plane's certificate is not signed by `{ca}`: get the CA that has signed it")
    } else if says(&["peer certificate: certificate expired", "peer certificate: Expired"]) {
        "the control plane's certificate has expired: renew it there, or set this machine's clock".to_owned()
    } else if says(&["peer certificate: certificate not valid yet", "peer certificate: NotValidYet"]) {
        "the control plane's certificate is not valid yet: compare the clocks of both machines".to_owned()
    } else if says(&["peer certificate: certificate not valid for name", "peer certificate: NotValidForName"])
    {
        "the control plane's certificate is for other names: use one of them, or make it with `--name HOST`"
            .to_owned()
    } else if says(&["operation was canceled"]) {
        // With TLS 1.3 a client learns after the handshake that its certificate is refused. If that comes before the first
        // request, HTTP/2 keeps nothing of the alert.
        format!(
            "the control plane closed the connection at once: if that goes on, it does not take `{cert}`, which is \
             expired or signed by no CA that it trusts; its log says why"
        )
    } else {
        return None;
    };
    Some(hint)
}
