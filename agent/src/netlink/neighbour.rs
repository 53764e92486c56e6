//! Neighbours that need no asking.

use std::net::IpAddr;

use super::{Error, Link, Netlink};

impl Netlink {
    /// Says for good which hardware address an address on this link has.
    pub(crate) async fn put_neighbour(
        &self,
        link: &Link,
        address: IpAddr,
        mac: [u8; 6],
    ) -> Result<(), Error> {
        let add = self.handle.neighbours().add(link.index, address).link_layer_address(&mac).replace();
        add.execute().await.map_err(Error::refused("adding the neighbour", address))
    }
}
