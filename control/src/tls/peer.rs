//! Which node is on the other side of a connection: what its certificate says, as those of kubelets do.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

/// What a common name begins with; the node's name follows.
pub(crate) const PREFIX: &str = "system:node:";

/// A peer that has shown a certificate.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Where it connects from, for the log.
    pub(crate) address: Option<SocketAddr>,
    /// The node that it is.
    pub(crate) node: Result<Arc<str>, NotANode>,
}

/// A certificate that names no node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotANode {
    /// None, or none that can be read.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// Another subject.
    #[error("the certificate's subject is `{subject}`, which is no node")]
    Subject {
        /// As it is, without control characters.
        subject: Arc<str>,
    },
}

impl Peer {
    /// Reads the certificate that the CA has signed.
    pub(crate) fn new(address: Option<SocketAddr>, certificate: Option<&CertificateDer<'_>>) -> Self {
        let parsed = certificate.and_then(|der| X509Certificate::from_der(der).ok());
        let node = match &parsed {
            Some((_, certificate)) => node(certificate.subject()),
            None => Err(NotANode::Unreadable),
        };
        Self { address, node }
    }
}

/// The node that a subject names. Two common names are none: which one would count is anybody's guess.
fn node(subject: &X509Name<'_>) -> Result<Arc<str>, NotANode> {
    let mut names = subject.iter_common_name();
    let name = match (names.next(), names.next()) {
        (Some(name), None) => name.as_str().ok(),
        _ => None,
    };
    name.and_then(|name| name.strip_prefix(PREFIX))
        .filter(|name| !name.is_empty())
        .map(Arc::from)
        .ok_or_else(|| NotANode::Subject { subject: subject.to_string().escape_debug().to_string().into() })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    fn peer(names: &[(DnType, &str)]) -> Result<Arc<str>, NotANode> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        for (kind, name) in names {
            params.distinguished_name.push(kind.clone(), *name);
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Peer::new(None, Some(certificate.der())).node
    }

    #[test]
    fn the_common_name_of_a_node_is_as_kubelets_have_it() {
        let kubelet =
            [(DnType::OrganizationName, "system:nodes"), (DnType::CommonName, "system:node:n1.example")];
        assert_eq!(peer(&kubelet).as_deref(), Ok("n1.example"));
        for other in ["n1", "system:node:", "system:nodes:n1", "System:node:n1", " system:node:n1", ""] {
            assert!(matches!(peer(&[(DnType::CommonName, other)]), Err(NotANode::Subject { .. })), "{other}");
        }
        assert!(peer(&[]).is_err());
        assert!(peer(&[(DnType::OrganizationName, "system:node:n1")]).is_err());
    }

    #[test]
    fn what_is_no_certificate_is_no_node() {
        assert_eq!(Peer::new(None, None).node, Err(NotANode::Unreadable));
        let garbage = CertificateDer::from(vec![0x30, 0x03, 1, 2, 3]);
        assert_eq!(Peer::new(None, Some(&garbage)).node, Err(NotANode::Unreadable));
    }

    #[test]
    fn a_subject_cannot_forge_lines_of_the_log() {
        let error = peer(&[(DnType::CommonName, "n1\n2026 INFO all is well")]).unwrap_err();
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}
