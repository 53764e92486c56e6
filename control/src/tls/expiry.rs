//! Certificates that expire soon, or have.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

/// Who has so many seconds left should act.
const SOON: i64 = 14 * 24 * 60 * 60;

/// When a certificate of a file ends.
#[derive(Clone, Debug)]
pub(super) struct End {
    path: PathBuf,
    subject: String,
    at: ASN1Time,
}

/// The ends of the certificates of a file.
pub(super) fn ends(path: &Path, certificates: &[CertificateDer<'_>]) -> impl Iterator<Item = End> {
    certificates.iter().filter_map(|der| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let subject = certificate.subject().to_string().escape_debug().to_string();
        Some(End { path: path.to_owned(), subject, at: certificate.validity().not_after })
    })
}

/// Tells of those that have less than 14 days left.
pub(super) fn warn(ends: &[End]) {
    for sentence in sentences(ends, ASN1Time::now()) {
        tracing::warn!("{sentence}");
    }
}

fn sentences(ends: &[End], now: ASN1Time) -> Vec<String> {
    let late = ends.iter().filter(|end| end.at.timestamp() - now.timestamp() < SOON);
    let sentence = |End { path, subject, at }: &End| {
        let verb = if at.timestamp() < now.timestamp() { "has expired" } else { "expires" };
        format!(
            "`{}`: the certificate of `{subject}` {verb} on {}: put a new one there, which counts without a restart",
            path.display(),
            at.to_datetime().date()
        )
    };
    late.map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn who_has_less_than_14_days_left_is_named_with_file_and_date() {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "control");
        params.not_after = date_time_ymd(2026, 3, 20);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let ends: Vec<_> = ends(Path::new("/tls/server.pem"), &[certificate.der().clone()]).collect();
        let on = |month, day| sentences(&ends, ASN1Time::from(date_time_ymd(2026, month, day)));
        assert!(on(3, 6).is_empty());
        let rest = "on 2026-03-20: put a new one there, which counts without a restart";
        assert_eq!(on(3, 7), [format!("`/tls/server.pem`: the certificate of `CN=control` expires {rest}")]);
        assert_eq!(
            on(3, 21),
            [format!("`/tls/server.pem`: the certificate of `CN=control` has expired {rest}")]
        );
    }
}
