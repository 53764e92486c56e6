//! The CA: a new one, or the one that is there.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{CertsError, exists, params};

/// Signs certificates.
pub(super) struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    /// A new one for so many days, with its certificate and its key as PEM.
    pub(super) fn new(days: u16) -> Result<(Self, String, String), CertsError> {
        let key = KeyPair::generate()?;
        let mut params = params("Fairway CA", Vec::new(), days)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let (pem, private) = (params.self_signed(&key)?.pem(), key.serialize_pem());
        Ok((Self(Issuer::new(params, key)), pem, private))
    }

    /// The one that is in these files; none where both are missing. Of several certificates (while a CA is replaced by
    /// another one) it is the one whose key is there.
    pub(super) fn read([pem, key]: [PathBuf; 2]) -> Result<Option<Self>, CertsError> {
        match (exists(&pem), exists(&key)) {
            (false, false) => return Ok(None),
            (true, true) => {}
            (true, false) => return Err(CertsError::HalfCa { path: pem, missing: key }),
            (false, true) => return Err(CertsError::HalfCa { path: key, missing: pem }),
        }
        let private =
            KeyPair::from_pem(&read(&key)?).map_err(|source| CertsError::Ca { path: key.clone(), source })?;
        let text = read(&pem)?;
        let certificates: Vec<_> =
            CertificateDer::pem_slice_iter(text.as_bytes()).filter_map(Result::ok).collect();
        let Some(certificate) = certificates.iter().find(|der| belongs(der, &private)) else {
            return Err(CertsError::ForeignKey { key, cert: pem });
        };
        let issuer = Issuer::from_ca_cert_der(certificate, private);
        issuer.map(|issuer| Some(Self(issuer))).map_err(|source| CertsError::Ca { path: pem, source })
    }

    /// What rcgen signs with.
    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.0
    }
}

fn belongs(certificate: &CertificateDer<'_>, key: &KeyPair) -> bool {
    X509Certificate::from_der(certificate)
        .is_ok_and(|(_, certificate)| *certificate.public_key().subject_public_key.data == *key.der_bytes())
}

fn read(path: &Path) -> Result<String, CertsError> {
    fs::read_to_string(path).map_err(|source| CertsError::Read { path: path.to_owned(), source })
}
