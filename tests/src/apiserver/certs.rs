//! The server's certificates, and what clients need to know of them.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Context;
use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};

/// Who signs the certificates of one server and of its clients.
pub(super) struct Authority {
    /// The server's.
    address: IpAddr,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new(address: IpAddr) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = params("kubernetes", Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { address, pem, issuer: Issuer::new(params, key) })
    }

    /// What the server shows and asks for; its certificate may have expired.
    pub(super) fn server(&self, expired: bool) -> anyhow::Result<Arc<ServerConfig>> {
        let names = [&self.address.to_string(), "localhost", "kubernetes", "kubernetes.default.svc"];
        let mut params = params("kube-apiserver", names.map(Into::into).into())?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if expired {
            params.not_after = date_time_ymd(2025, 1, 1);
        }
        let (certificate, key) = self.signed(params)?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes())?)?;
        let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes())?],
                PrivateKeyDer::from_pem_slice(key.as_bytes())?,
            )?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// The `user` of a kubeconfig with a certificate.
    pub(super) fn client(&self) -> anyhow::Result<Value> {
        let mut params = params("fairway", Vec::new())?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let (certificate, key) = self.signed(params)?;
        Ok(json!({
            "client-certificate-data": ByteString(certificate.into_bytes()),
            "client-key-data": ByteString(key.into_bytes()),
        }))
    }

    /// A kubeconfig with one context.
    pub(super) fn kubeconfig(&self, url: &str, user: Value) -> anyhow::Result<Value> {
        let authority = serde_json::to_value(ByteString(self.pem.clone().into_bytes()))?;
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "trial", "cluster": { "server": url, "certificate-authority-data": authority },
            }],
            "users": [{ "name": "fairway", "user": user }],
            "contexts": [{ "name": "trial", "context": { "cluster": "trial", "user": "fairway" } }],
            "current-context": "trial",
        }))
    }

    fn signed(&self, mut params: CertificateParams) -> anyhow::Result<(String, String)> {
        let key = KeyPair::generate()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let certificate = params.signed_by(&key, &self.issuer).context("a certificate cannot be signed")?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

fn params(name: &str, hosts: Vec<String>) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    // Clients' clocks may be behind.
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2099, 1, 1);
    Ok(params)
}

/// A bearer token.
pub(super) fn token() -> String {
    format!("{:032x}", rand::random::<u128>())
}
