//! What a handshake that failed means, in words.

use std::io;

use rustls::{CertificateError, Error};

/// What is wrong with the peer, and what to do.
pub(crate) fn refusal(error: &io::Error) -> &'static str {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match cause {
        Some(Error::NoCertificatesPresented) => {
            "refused: the peer shows no certificate: give it one that --tls-ca has signed"
        }
        Some(Error::InvalidCertificate(certificate)) => invalid(certificate),
        Some(Error::AlertReceived(_)) => {
            "the peer refuses this server's certificate: look at its CA, and at the names and date of --tls-cert"
        }
        _ if error.kind() == io::ErrorKind::TimedOut => "refused: the peer does not speak TLS in time",
        _ => "refused: the peer must speak TLS with a certificate that --tls-ca has signed",
    }
}

fn invalid(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "refused: the peer's certificate has expired: give it a new one"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "refused: the peer's certificate is not valid yet: compare the clocks of both machines"
        }
        // A CA of the same name with another key looks like a wrong signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "refused: the peer's certificate is signed by no CA in --tls-ca"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "refused: the peer's certificate is not for clients (extended key usage clientAuth)"
        }
        _ => "refused: the peer's certificate cannot be used",
    }
}
