//! When certificates end, and who has to be told.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Who has less time left should act, in seconds,
const SOON: i64 = 14 * 24 * 60 * 60;
/// unless more than this part of all its time is left: what lives for a day is replaced each day, in time.
const PART: i64 = 10;

/// When a certificate of a file ends.
#[derive(Clone, Debug)]
pub struct End {
    /// The file.
    pub path: PathBuf,
    /// Its subject, without control characters.
    pub subject: String,
    /// Its last second, since 1970.
    pub at: i64,
    /// Seconds from its first to its last.
    lives: i64,
}

/// The ends of the certificates of a PEM file. What cannot be read there has none.
pub fn read(path: &Path) -> Vec<End> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let all: Vec<_> = CertificateDer::pem_slice_iter(&bytes).filter_map(Result::ok).collect();
    ends(path, &all).collect()
}

/// The ends of the certificates of a file.
pub(super) fn ends(path: &Path, certificates: &[CertificateDer<'_>]) -> impl Iterator<Item = End> {
    certificates.iter().filter_map(|der| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let subject = certificate.subject().to_string().escape_debug().to_string();
        let validity = certificate.validity();
        let at = validity.not_after.timestamp();
        Some(End { path: path.to_owned(), subject, at, lives: at - validity.not_before.timestamp() })
    })
}

impl End {
    /// It is not valid any more.
    #[must_use]
    pub fn is_over(&self, now: SystemTime) -> bool {
        self.at < seconds(now)
    }

    /// What to say of it, if it is time: 14 days before its end, or when a tenth of its time is left if that is later.
    #[must_use]
    pub fn warning(&self, now: SystemTime) -> Option<String> {
        let left = self.at - seconds(now);
        if left >= SOON || left >= self.lives / PART {
            return None;
        }
        let verb = if left < 0 { "has expired" } else { "expires" };
        let (path, subject, at) = (self.path.display(), &self.subject, when(self.at));
        Some(format!(
            "`{path}`: the certificate of `{subject}` {verb} at {at}: put a new one there, which counts without a restart"
        ))
    }
}

/// A time in seconds since 1970, for people.
#[must_use]
pub fn when(at: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(at).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| format!("second {at} since 1970"))
}

/// Tells of those whose time it is.
pub(super) fn warn(ends: &[End]) {
    for sentence in ends.iter().filter_map(|end| end.warning(SystemTime::now())) {
        tracing::warn!("{sentence}");
    }
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().cast_signed()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;

    fn said(from: OffsetDateTime, to: OffsetDateTime, now: OffsetDateTime) -> Option<String> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "control");
        (params.not_before, params.not_after) = (from, to);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let ends: Vec<_> = ends(Path::new("/tls/server.pem"), &[certificate.der().clone()]).collect();
        ends[0].warning(now.into())
    }

    #[test]
    fn who_has_less_than_14_days_left_is_named_with_file_and_time() {
        let year = [date_time_ymd(2025, 3, 20), date_time_ymd(2026, 3, 20)];
        let on = |month, day| said(year[0], year[1], date_time_ymd(2026, month, day));
        assert_eq!(on(3, 6), None);
        let sentence = |verb: &str| {
            format!(
                "`/tls/server.pem`: the certificate of `CN=control` {verb} at 2026-03-20T00:00:00Z: put a new one \
                 there, which counts without a restart"
            )
        };
        assert_eq!(on(3, 7), Some(sentence("expires")));
        assert_eq!(on(3, 21), Some(sentence("has expired")));
    }

    #[test]
    fn what_lives_for_a_day_is_told_of_when_a_tenth_of_it_is_left() {
        let at = |hour: u8| date_time_ymd(2026, 3, 20) + time::Duration::hours(hour.into());
        assert_eq!(said(at(0), at(24), at(21)), None);
        assert!(said(at(0), at(24), at(22)).is_some());
    }

    #[test]
    fn a_file_without_certificates_has_no_end() {
        assert!(read(Path::new("/nowhere/a.pem")).is_empty());
        assert!(read(Path::new("/proc/self/status")).is_empty());
    }
}
