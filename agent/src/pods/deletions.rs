//! Deletions that the plugin left on disk while no agent answered.
//!
//! They are carried out before a pod is added, each once: the runtime asked for them before it asked for that pod.

use fairway_proto::deletions::Deletions;
use fairway_proto::node::{Attachment, DeleteRequest};

use super::Error;
use super::error::chain;
use super::force::Force;

impl Force {
    /// Carries out all that wait. What fails stays, and is tried again the next time.
    pub(super) async fn catch_up(&self) {
        let waiting = self.deletions.list().unwrap_or_else(|source| {
            tracing::warn!("{}", chain(&unreadable(&self.deletions, source)));
            Vec::new()
        });
        for attachment in waiting {
            let _turn = self.turns.take(&attachment.container_id, &attachment.interface).await;
            if let Err(error) = self.carry_out(&attachment).await {
                let Attachment { container_id, interface } = attachment;
                tracing::warn!("deleting `{interface}` of container `{container_id}`: {}", chain(&error));
            }
        }
    }

    /// Carries out the deletion of this attachment, if it waits. The caller has its turn. As long as this fails the
    /// attachment cannot be added: it would be deleted again.
    pub(super) async fn carry_out(&self, attachment: &Attachment) -> Result<(), Error> {
        let failed = |source| unreadable(&self.deletions, source);
        if !self.deletions.contains(attachment).map_err(failed)? {
            return Ok(());
        }
        let Attachment { container_id, interface } = attachment.clone();
        self.delete_in_turn(&DeleteRequest { container_id, interface, netns: String::new() }).await?;
        self.deletions.remove(attachment).map_err(failed)
    }
}

fn unreadable(deletions: &Deletions, source: std::io::Error) -> Error {
    Error::Deletions { path: deletions.directory().to_owned(), source }
}
