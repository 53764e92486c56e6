//! Mutual TLS with the control plane: the files, and what an error means.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fairway_control::expiry;
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
    // Their text changes with every second, and would be new to the log each time.
    if let Some(untimely) = untimely(&reason) {
        return untimely;
    }
    match files.and_then(|files| hint(&reason, files)) {
        Some(hint) => format!("{hint} ({reason})"),
        None => reason,
    }
}

/// The control plane's certificate is not valid now.
fn untimely(reason: &str) -> Option<String> {
    let end = |words: &str| {
        let number = reason.split_once(words)?.1.split(|c: char| !c.is_ascii_digit()).next()?;
        number.parse().ok().map(expiry::when)
    };
    if reason.contains("peer certificate: certificate expired") {
        let at = end("not valid after ")?;
        Some(format!(
            "the control plane's certificate has expired at {at}: put a new one in its place there, no restart is needed, or \
             set this machine's clock"
        ))
    } else if reason.contains("peer certificate: certificate not valid yet") {
        let at = end("not valid before ")?;
        Some(format!(
            "the control plane's certificate is not valid before {at}: compare the clocks of both machines"
        ))
    } else {
        None
    }
}

fn hint(reason: &str, files: &TlsFiles) -> Option<String> {
    let (cert, ca) = (files.cert.display(), files.ca.display());
    let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    let hint = if says(&["alert: CertificateExpired"]) {
        expired(files).unwrap_or_else(|| valid(files))
    } else if says(&["alert: UnknownCA", "alert: DecryptError", "alert: BadCertificate"]) {
        format!(
            "`{cert}` is signed by no CA that the control plane trusts: get one that its --tls-ca has signed"
        )
    } else if says(&["alert: CertificateRequired", "alert: UnsupportedCertificate", "alert: AccessDenied"]) {
        format!("the control plane does not take `{cert}`: agents need a certificate for clients")
    } else if says(&["peer certificate: UnknownIssuer", "peer certificate: BadSignature"]) {
        format!("the control plane's certificate is not signed by `{ca}`: get the CA that has signed it")
    } else if says(&["peer certificate: certificate not valid for name", "peer certificate: NotValidForName"])
    {
        "the control plane's certificate is for other names: use one of them, or make it with `--name HOST`"
            .to_owned()
    } else if says(&["operation was canceled"]) {
        // With TLS 1.3 a client learns after the handshake that its certificate is refused. If that comes before the first
        // request, HTTP/2 keeps nothing of the alert.
        expired(files).unwrap_or_else(|| {
            format!(
                "the control plane closed the connection at once: if that goes on, it does not take `{cert}`, which is \
                 expired or signed by no CA that it trusts; its log says why"
            )
        })
    } else {
        return None;
    };
    Some(hint)
}

/// The agent's certificate has expired by this machine's clock.
fn expired(files: &TlsFiles) -> Option<String> {
    let end = expiry::read(&files.cert).into_iter().next()?;
    end.is_over(SystemTime::now()).then(|| {
        let (cert, subject, at) = (files.cert.display(), &end.subject, expiry::when(end.at));
        format!("`{cert}`, the certificate of `{subject}`, has expired at {at}: put a new one there, no restart is needed")
    })
}

/// The control plane says that it has expired, and this machine sees no reason.
fn valid(files: &TlsFiles) -> String {
    let cert = files.cert.display();
    format!(
        "the control plane refuses `{cert}` for its time, which is right by this machine's clock: compare the clocks of both \
         machines, if a new one was not put there just now"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_planes_certificate_of_another_time_is_told_in_the_same_words_each_second() {
        let expired = |now: u64| {
            format!(
                "no connection to the control plane: invalid peer certificate: certificate expired: verification time {now} \
                 (UNIX), but certificate is not valid after 1700000000 ({} seconds ago)",
                now - 1_700_000_000
            )
        };
        let said = explained(expired(1_700_000_009), None);
        assert_eq!(said, explained(expired(1_700_000_010), None));
        assert!(
            said.starts_with("the control plane's certificate has expired at 2023-11-14T22:13:20Z: put"),
            "{said}"
        );
    }
}
