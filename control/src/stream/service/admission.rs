//! Who may open a stream: a node as itself.

use tonic::Status;

use crate::tls::{PREFIX, Peer};

/// The node that the certificate names; none where there is none: whoever reaches a unix socket or this process's memory
/// may speak for every node, and so may all with `--insecure`.
///
/// # Errors
/// `permission_denied` if the certificate names none.
pub(super) fn identity(peer: Option<&Peer>) -> Result<Option<&str>, Status> {
    match peer.map(|peer| &peer.node) {
        None => Ok(None),
        Some(Ok(node)) => Ok(Some(node.as_ref())),
        Some(Err(reason)) => Err(Status::permission_denied(format!(
            "{reason}: an agent needs one with the common name `{PREFIX}NAME`, which `fairway-control certs --out DIR \
             --node NAME` makes"
        ))),
    }
}

/// Whether the node of the certificate may be the one of Hello.
///
/// # Errors
/// `permission_denied` if it is another one.
pub(super) fn admit(identity: Option<&str>, node: &str) -> Result<(), Status> {
    match identity {
        Some(own) if own != node => Err(Status::permission_denied(format!(
            "the certificate is of node `{own}`, and the agent says that it is node `{node}`: give it a certificate \
             with the common name `{PREFIX}{node}`, or the node-name `{own}`"
        ))),
        _ => Ok(()),
    }
}
