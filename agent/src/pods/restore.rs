//! The start of an agent: its pods are served again, what is gone is forgotten.

use super::error::chain;
use super::force::Force;
use super::state::Record;
use super::{Error, Programs, wiring};
use crate::netlink::Link;

impl Force {
    /// Puts the pods of the state in force again, and forgets those whose device is gone.
    pub(super) async fn restore(&self) -> Result<(), Error> {
        let mut gone = Vec::new();
        for record in self.ledger.look(|state| state.pods().to_vec()) {
            let link = self.netlink.link(&record.node_interface).await?;
            match link.filter(|link| record.complete && link.mac == record.node_mac) {
                Some(link) => self.put_again(Record { ifindex: link.index, ..record }, &link).await?,
                None => gone.push(record),
            }
        }
        for record in gone {
            if let Err(error) = self.remove(&record).await {
                tracing::warn!("a pod that is gone left something behind: {}", chain(&error));
            }
        }
        self.forget_unknown().await?;
        self.look_for_strays().await
    }

    async fn put_again(&self, record: Record, link: &Link) -> Result<(), Error> {
        let again = async {
            self.put_programs(&record).await?;
            if let Some(limit) = record.limits.ingress {
                self.netlink.put_limit(link, limit).await?;
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = again.await {
            let (namespace, name) = (&record.namespace, &record.name);
            tracing::error!("pod `{namespace}/{name}` is not fully served: {}", chain(&error));
        }
        // The way to other nodes may have changed.
        if let Err(error) = wiring::reroute(&record, self.mtu).await {
            tracing::warn!("the routes of pod address `{:?}`: {}", record.addresses, chain(&error));
        }
        let known = self.find(&record.container_id, &record.interface);
        if known.as_ref() == Some(&record) {
            Ok(())
        } else {
            self.ledger.change(|state| state.put(record)).await
        }
    }

    /// Removes the addresses that the data path knows and the state does not.
    async fn forget_unknown(&self) -> Result<(), Error> {
        let used = self.ledger.look(|state| state.used());
        let forget = move |programs: &dyn Programs| {
            for pod in programs.pods()?.into_iter().filter(|pod| !used.contains(&pod.address)) {
                tracing::info!("forgetting pod address `{}`: no pod has it", pod.address);
                programs.delete_pod(pod.address)?;
            }
            Ok(())
        };
        self.with_programs(forget).await
    }
}
