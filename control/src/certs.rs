//! A CA with certificates of the server and of nodes, to start with.

mod authority;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use time::{Duration, OffsetDateTime};

use self::authority::Authority;
use crate::tls::PREFIX;

/// So many days a certificate is valid unless somebody wants it otherwise.
pub const DAYS: u16 = 365;
/// So many days a CA is valid at least.
const CA_DAYS: u16 = 3650;

/// Where Linux tells the host's name.
const HOSTNAME: &str = "/proc/sys/kernel/hostname";

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
    /// A file cannot be read.
    #[error("`{path}` cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Half of a CA.
    #[error(
        "`{missing}` is missing beside `{path}`: put it there to sign with this CA, or choose another --out"
    )]
    HalfCa {
        /// What is there.
        path: PathBuf,
        /// What is not.
        missing: PathBuf,
    },
    /// A CA that is there cannot be used.
    #[error("`{path}` cannot be used to sign: choose another --out for a new CA")]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rcgen::Error,
    },
    /// Key and certificates of a CA do not belong together.
    #[error("`{key}` is the key of no certificate in `{cert}`")]
    ForeignKey {
        /// The key's file.
        key: PathBuf,
        /// The certificates' file.
        cert: PathBuf,
    },
    /// A name is none.
    #[error("`{name}` is neither a host name nor an IP address")]
    Name {
        /// As given.
        name: String,
    },
    /// A node's name is none.
    #[error("`{name}` is no node name: small letters, digits, `-` and `.`, at most 253; give it by --node")]
    Node {
        /// As given, or the host's.
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

/// A file that shall be.
struct File {
    path: PathBuf,
    content: String,
    mode: u32,
}

/// Makes certificates in `directory`, which is created if it is missing: `ca`, `server`, and `node-NAME` for each of `nodes`,
/// or, without any, `client` for the node that has this host's name; each `.pem` and `.key`. Agents show theirs: its common
/// name is `system:node:NAME`. The server's is for `names` (host names and IP addresses), `localhost`, 127.0.0.1 and ::1.
/// Private keys are readable by their owner alone. A CA that is there signs what is missing; a server's certificate beside it
/// stays, unless `names` ask for another one. All but the CA are valid for `days`, and a CA for ten years or for `days` if that
/// is longer.
///
/// Returns what was written.
///
/// # Errors
/// A file that exists, or cannot be read or written; a name that is none. Nothing is written over, and nothing is written
/// unless everything can be made.
pub fn make(
    directory: &Path,
    names: &[String],
    nodes: &[String],
    days: u16,
) -> Result<Vec<PathBuf>, CertsError> {
    let mut files = Vec::new();
    let pair = |name: &str| [directory.join(format!("{name}.pem")), directory.join(format!("{name}.key"))];
    let authority = match Authority::read(pair("ca"))? {
        Some(authority) => authority,
        None => {
            let (authority, pem, key) = Authority::new(days.max(CA_DAYS))?;
            files.extend(both(pair("ca"), pem, key));
            authority
        }
    };
    let keep = files.is_empty() && names.is_empty() && pair("server").iter().all(|path| exists(path));
    if !keep {
        let (pem, key) = server(names, days, &authority)?;
        files.extend(both(pair("server"), pem, key));
    }
    let own = if nodes.is_empty() { Some(host()?) } else { None };
    let clients = nodes.iter().map(|node| (format!("node-{node}"), node));
    for (file, node) in clients.chain(own.iter().map(|node| ("client".to_owned(), node))) {
        let (pem, key) = client(node, days, &authority)?;
        files.extend(both(pair(&file), pem, key));
    }
    write_all(directory, &files)?;
    Ok(files.into_iter().map(|file| file.path).collect())
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn both([pem, key]: [PathBuf; 2], certificate: String, private: String) -> [File; 2] {
    [File { path: pem, content: certificate, mode: 0o644 }, File { path: key, content: private, mode: 0o600 }]
}

/// This host's name as agents take it for their node's.
fn host() -> Result<String, CertsError> {
    let read = |source| CertsError::Read { path: HOSTNAME.into(), source };
    Ok(std::fs::read_to_string(HOSTNAME).map_err(read)?.trim().to_lowercase())
}

fn server(names: &[String], days: u16, authority: &Authority) -> Result<(String, String), CertsError> {
    let local = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let mut hosts: Vec<String> = names.iter().chain(&local).cloned().collect();
    hosts.sort();
    hosts.dedup();
    for host in &hosts {
        // rcgen takes any text for a host name.
        let valid = host.parse::<IpAddr>().is_ok()
            || host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-*".contains(&byte));
        if !valid || host.is_empty() {
            return Err(CertsError::Name { name: host.clone() });
        }
    }
    signed(params("Fairway control plane", hosts, days)?, ExtendedKeyUsagePurpose::ServerAuth, authority)
}

fn client(node: &str, days: u16, authority: &Authority) -> Result<(String, String), CertsError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    if node.is_empty() || node.len() > 253 || !node.bytes().all(allowed) {
        return Err(CertsError::Node { name: node.to_owned() });
    }
    signed(
        params(&format!("{PREFIX}{node}"), Vec::new(), days)?,
        ExtendedKeyUsagePurpose::ClientAuth,
        authority,
    )
}

/// What is to be signed, valid since yesterday: clocks differ.
fn params(name: &str, hosts: Vec<String>, days: u16) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now - Duration::DAY, now + Duration::days(days.into()));
    Ok(params)
}

fn signed(
    mut params: CertificateParams,
    usage: ExtendedKeyUsagePurpose,
    authority: &Authority,
) -> Result<(String, String), CertsError> {
    let key = KeyPair::generate()?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    Ok((params.signed_by(&key, authority.issuer())?.pem(), key.serialize_pem()))
}

fn write_all(directory: &Path, files: &[File]) -> Result<(), CertsError> {
    if let Some(File { path, .. }) = files.iter().find(|file| exists(&file.path)) {
        return Err(CertsError::Exists { path: path.clone() });
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| CertsError::Write { path: directory.to_owned(), source })?;
    files.iter().try_for_each(write)
}

fn write(File { path, content, mode }: &File) -> Result<(), CertsError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(*mode).open(path);
    file.and_then(|mut file| file.write_all(content.as_bytes())).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => CertsError::Exists { path: path.to_owned() },
        _ => CertsError::Write { path: path.to_owned(), source },
    })
}
