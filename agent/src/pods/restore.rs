//! The start of an agent: its pods are served again, what is gone is forgotten.

use super::error::chain;
use super::force::Force;
use super::state::State;
use super::{Error, Programs};

impl Force {
    /// Puts the pods of the state in force again, and forgets those whose device is gone.
    pub(super) async fn restore(&self) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        let mut next = state.clone();
        let mut gone = Vec::new();
        for record in &mut next.pods {
            let link = self.netlink.link(&record.node_interface).await?;
            match link.filter(|link| record.complete && link.mac == record.node_mac) {
                Some(link) => {
                    record.ifindex = link.index;
                    if let Err(error) = self.put_programs(record).await {
                        let (namespace, name) = (&record.namespace, &record.name);
                        tracing::error!("pod `{namespace}/{name}` is not fully served: {}", chain(&error));
                    }
                }
                None => gone.push(record.clone()),
            }
        }
        self.commit(&mut state, next).await?;
        for record in gone {
            if let Err(error) = self.remove(&mut state, &record).await {
                tracing::warn!("a pod that is gone left something behind: {}", chain(&error));
            }
        }
        self.forget_unknown(&state).await
    }

    /// Removes the addresses that the data path knows and the state does not.
    async fn forget_unknown(&self, state: &State) -> Result<(), Error> {
        let used = state.used();
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
