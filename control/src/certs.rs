//! A CA with a server's and a client's certificate, to start with.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Why no certificates were made.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// A file is there already.
    #[error("`{path}` exists already and is not overwritten: choose another --out, or remove it first")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("`{path}` cannot be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A name is none.
    #[error("`{name}` is neither a host name nor an IP address")]
    Name {
        /// As given.
        name: String,
    },
    /// The certificates cannot be made.
    #[error("the certificates cannot be made")]
    Make {
        /// Why.
        #[from]
        source: rcgen::Error,
    },
}

/// Makes `ca`, `server` and `client`, each `.pem` and `.key`, in `directory`, which is created if it is missing.
/// The server's certificate is for `names` (host names and IP addresses), `localhost`, 127.0.0.1 and ::1.
/// Private keys are readable by their owner alone.
///
/// # Errors
/// A file that exists, or cannot be written; a name that is none. Nothing is written over.
pub fn make(directory: &Path, names: &[String]) -> Result<Vec<PathBuf>, CertsError> {
    let all = ["ca.pem", "ca.key", "server.pem", "server.key", "client.pem", "client.key"];
    let paths = all.map(|name| directory.join(name));
    if let Some(path) = paths.iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(CertsError::Exists { path: path.clone() });
    }
    let ca_key = KeyPair::generate()?;
    let mut ca = params("Fairway CA", Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(ca, &ca_key);

    let local = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let mut hosts: Vec<String> = names.iter().chain(&local).cloned().collect();
    hosts.sort();
    hosts.dedup();
    let (server_pem, server_key) =
        signed("Fairway control plane", hosts, ExtendedKeyUsagePurpose::ServerAuth, &issuer)?;
    let (client_pem, client_key) =
        signed("Fairway agent", Vec::new(), ExtendedKeyUsagePurpose::ClientAuth, &issuer)?;

    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| CertsError::Write { path: directory.to_owned(), source })?;
    let contents = [ca_pem, ca_key.serialize_pem(), server_pem, server_key, client_pem, client_key];
    for (path, content) in paths.iter().zip(contents) {
        let mode = if path.extension().is_some_and(|extension| extension == "key") { 0o600 } else { 0o644 };
        write(path, &content, mode)?;
    }
    Ok(paths.into())
}

fn params(name: &str, hosts: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn signed(
    name: &str,
    hosts: Vec<String>,
    usage: ExtendedKeyUsagePurpose,
    issuer: &Issuer<'_, &KeyPair>,
) -> Result<(String, String), CertsError> {
    for host in &hosts {
        // rcgen takes any text for a host name.
        let valid = host.parse::<IpAddr>().is_ok()
            || host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-*".contains(&byte));
        if !valid || host.is_empty() {
            return Err(CertsError::Name { name: host.clone() });
        }
    }
    let key = KeyPair::generate()?;
    let mut params = params(name, hosts)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    Ok((params.signed_by(&key, issuer)?.pem(), key.serialize_pem()))
}

fn write(path: &Path, content: &str, mode: u32) -> Result<(), CertsError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(content.as_bytes())).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => CertsError::Exists { path: path.to_owned() },
        _ => CertsError::Write { path: path.to_owned(), source },
    })
}
