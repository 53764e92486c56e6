//! What a device's driver does for the stack: a pair of virtual devices leaves checksums to whoever needs them, and a wire
//! does not.

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::Netns;

impl Netns {
    /// Makes the stack finish the checksums of what a device sends (`ethtool -K DEVICE tx off`).
    ///
    /// # Errors
    /// The kernel's answer.
    #[expect(unsafe_code, reason = "the request is a structure that points to another one")]
    pub fn finish_checksums(&self, device: &str) -> io::Result<()> {
        /// `struct ethtool_value`.
        #[repr(C)]
        struct Value {
            command: u32,
            data: u32,
        }
        const SET_TX_CHECKSUM: u32 = 0x17;
        self.within(|| {
            let mut value = Value { command: SET_TX_CHECKSUM, data: 0 };
            // SAFETY: plain integers and a union of them: zero is a valid value.
            let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
            for (to, from) in request.ifr_name.iter_mut().zip(device.bytes().take(15)) {
                *to = from.cast_signed();
            }
            request.ifr_ifru.ifru_data = (&raw mut value).cast();
            let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
            // SAFETY: the request and what it points to outlive the call.
            match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) } {
                0.. => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        })
    }
}
