//! What a handshake that failed means, in words.

use std::io;

use rustls::pki_types::UnixTime;
use rustls::{CertificateError, Error};

use super::expiry::when;

const RENEW: &str = "put a new one in its place there, no restart is needed";
const CLOCKS: &str = "compare the clocks of both machines";

/// What is wrong with the peer, and what to do. `subject` is that of the certificate that was refused.
pub(crate) fn refusal(error: &io::Error, subject: Option<&str>) -> String {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let sentence = match cause {
        Some(Error::NoCertificatesPresented) => {
            "refused: the peer shows no certificate: give it one that --tls-ca has signed"
        }
        Some(Error::InvalidCertificate(certificate)) => return invalid(certificate, subject),
        Some(Error::AlertReceived(_)) => {
            "the peer refuses this server's certificate: look at its CA, and at the names and date of --tls-cert"
        }
        _ if error.kind() == io::ErrorKind::TimedOut => "refused: the peer does not speak TLS in time",
        _ => "refused: the peer must speak TLS with a certificate that --tls-ca has signed",
    };
    sentence.to_owned()
}

fn invalid(error: &CertificateError, subject: Option<&str>) -> String {
    let whose = match subject {
        Some(subject) => format!("the peer's certificate, of `{subject}`,"),
        None => "the peer's certificate".to_owned(),
    };
    let at = |time: &UnixTime| when(time.as_secs().cast_signed());
    let what = match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("has expired at {}: {RENEW}", at(not_after))
        }
        CertificateError::Expired => format!("has expired: {RENEW}"),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("is not valid before {}: {CLOCKS}", at(not_before))
        }
        CertificateError::NotValidYet => format!("is not valid yet: {CLOCKS}"),
        // A CA of the same name with another key looks like a wrong signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is signed by no CA in --tls-ca".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not for clients (extended key usage clientAuth)".to_owned()
        }
        _ => "cannot be used".to_owned(),
    };
    format!("refused: {whose} {what}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_expired_certificate_is_named_with_its_end_and_what_to_do() {
        let time = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let (now, end) = (time(1_800_000_000), time(1_700_000_000));
        let said = |error: CertificateError, subject| {
            refusal(&io::Error::other(Error::InvalidCertificate(error)), subject)
        };
        let expired = CertificateError::ExpiredContext { time: now, not_after: end };
        assert_eq!(
            said(expired, Some("CN=system:node:n1")),
            "refused: the peer's certificate, of `CN=system:node:n1`, has expired at 2023-11-14T22:13:20Z: put a new \
             one in its place there, no restart is needed"
        );
        let early = CertificateError::NotValidYetContext { time: end, not_before: now };
        assert_eq!(
            said(early, None),
            "refused: the peer's certificate is not valid before 2027-01-15T08:00:00Z: compare the clocks of both machines"
        );
    }
}
