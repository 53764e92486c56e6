//! Loads the object: settings in, programs verified, maps pinned or reused.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use aya::programs::{CgroupSockAddr, ProgramFd, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use fairway_common::{V4, V6, family, limits};
use ipnet::IpNet;

use crate::{Direct, Error, Options};

/// The kernel programs, as compiled.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/fairway.bpf.o"));

/// Names of all programs.
pub const PROGRAMS: [&str; 15] = [
    "from_pod",
    "to_pod",
    "from_network",
    "to_network",
    "connect4",
    "connect6",
    "sendmsg4",
    "sendmsg6",
    "recvmsg4",
    "recvmsg6",
    "getpeername4",
    "getpeername6",
    "from_tunnel",
    "to_tunnel",
    "from_wire",
];

/// The programs at sockets.
pub(crate) const SOCKET_PROGRAMS: [&str; 8] = [
    PROGRAMS[4],
    PROGRAMS[5],
    PROGRAMS[6],
    PROGRAMS[7],
    PROGRAMS[8],
    PROGRAMS[9],
    PROGRAMS[10],
    PROGRAMS[11],
];

/// The programs at the device of tunnels: the others are loaded without them where there are none.
const TUNNEL_PROGRAMS: [&str; 2] = [PROGRAMS[12], PROGRAMS[13]];

/// The program at the drivers of network devices: the others are loaded without it where nobody wants it.
pub(crate) const WIRE_PROGRAM: &str = PROGRAMS[14];

/// Where the maps of this layout are pinned.
pub(crate) fn map_directory(pins: &Path) -> PathBuf {
    pins.join(format!("v{}", limits::LAYOUT))
}

/// Loaded programs. Dropping them keeps what is attached by a pinned link.
#[derive(Debug)]
pub struct Programs {
    /// Aya's object.
    pub(crate) ebpf: Ebpf,
}

fn addresses(addresses: &[IpAddr]) -> (V4, V6) {
    let v4 = addresses.iter().find_map(|address| match address {
        IpAddr::V4(address) => Some(family::v4(*address)),
        IpAddr::V6(_) => None,
    });
    let v6 = addresses.iter().find_map(|address| match address {
        IpAddr::V6(address) => Some(family::v6(*address)),
        IpAddr::V4(_) => None,
    });
    (v4.unwrap_or_default(), v6.unwrap_or_default())
}

impl Programs {
    /// Loads all programs with these settings; maps are created and pinned, or reused.
    pub fn load(options: &Options) -> Result<Self, Error> {
        let maps = map_directory(&options.pins);
        crate::maps::check_layout(&maps)?;
        let (v4, v6) = addresses(&options.node_addresses);
        let (first, last) = options.nat_ports;
        let nat_first = u32::from(first);
        let nat_count = u32::from(last.saturating_sub(first)) + 1;
        let sockets_of = options.sockets_of.unwrap_or(0);
        let host_netns = options.host_netns.unwrap_or(0);
        let trace = u32::from(options.trace);
        let masquerade_all = u32::from(options.masquerade_all);
        let masquerade = u32::from(options.masquerade.0) | u32::from(options.masquerade.1) << 1;
        let direct = match options.direct {
            Direct::Off => 0u32,
            Direct::Link => 1,
            Direct::Enclosed => 2,
        };
        let tunnel = options.tunnel.map_or([0; 3], |it| [it.ifindex, it.id, u32::from(it.port)]);
        let (services_v4, services_v6) =
            addresses(&options.service_ranges.iter().map(IpNet::network).collect::<Vec<_>>());
        let (mask_v4, mask_v6) =
            addresses(&options.service_ranges.iter().map(IpNet::netmask).collect::<Vec<_>>());
        let mut ebpf = EbpfLoader::new()
            .default_map_pin_directory(&maps)
            .override_global("NODE_V4", &v4[..], true)
            .override_global("NODE_V6", &v6[..], true)
            .override_global("NAT_PORT_FIRST", &nat_first, true)
            .override_global("NAT_PORT_COUNT", &nat_count, true)
            .override_global("SOCKETS_OF", &sockets_of, true)
            .override_global("SERVICES_V4", &services_v4[..], true)
            .override_global("SERVICES_MASK_V4", &mask_v4[..], true)
            .override_global("SERVICES_V6", &services_v6[..], true)
            .override_global("SERVICES_MASK_V6", &mask_v6[..], true)
            .override_global("MASQUERADE_ALL", &masquerade_all, true)
            .override_global("MASQUERADE", &masquerade, true)
            .override_global("TUNNEL", &tunnel[0], true)
            .override_global("TUNNEL_ID", &tunnel[1], true)
            .override_global("TUNNEL_PORT", &tunnel[2], true)
            .override_global("HOST_NETNS", &host_netns, true)
            .override_global("DIRECT", &direct, true)
            .override_global("TRACE", &trace, true)
            .load(OBJECT)
            .map_err(load_error)?;
        for name in PROGRAMS {
            let unwanted = options.tunnel.is_none() && TUNNEL_PROGRAMS.contains(&name);
            if unwanted || !options.xdp && name == WIRE_PROGRAM {
                continue;
            }
            let program = ebpf.program_mut(name).ok_or_else(|| missing(name))?;
            let result = match program {
                aya::programs::Program::SchedClassifier(program) => program.load(),
                aya::programs::Program::CgroupSockAddr(program) => program.load(),
                aya::programs::Program::Xdp(program) => program.load(),
                _ => return Err(missing(name)),
            };
            result.map_err(Error::program("load", name))?;
        }
        Ok(Self { ebpf })
    }

    /// A packet program by name.
    pub fn classifier(&mut self, name: &'static str) -> Result<&mut SchedClassifier, Error> {
        let program = self.ebpf.program_mut(name).ok_or_else(|| missing(name))?;
        program.try_into().map_err(Error::program("find", name))
    }

    /// The program at drivers.
    pub(crate) fn xdp(&mut self) -> Result<&mut Xdp, Error> {
        let program = self.ebpf.program_mut(WIRE_PROGRAM).ok_or_else(|| missing(WIRE_PROGRAM))?;
        program.try_into().map_err(Error::program("find", WIRE_PROGRAM))
    }

    /// A socket program by name.
    pub(crate) fn socket(&mut self, name: &'static str) -> Result<&mut CgroupSockAddr, Error> {
        let program = self.ebpf.program_mut(name).ok_or_else(|| missing(name))?;
        program.try_into().map_err(Error::program("find", name))
    }

    /// A program's descriptor.
    pub(crate) fn fd(&self, name: &'static str) -> Result<&ProgramFd, Error> {
        let program = self.ebpf.program(name).ok_or_else(|| missing(name))?;
        program.fd().map_err(Error::program("find", name))
    }

    /// Whether a program is loaded.
    pub fn has(&self, name: &'static str) -> bool {
        self.fd(name).is_ok()
    }

    /// What the kernel says of a program.
    pub fn info(&self, name: &'static str) -> Result<aya::programs::ProgramInfo, Error> {
        let info = match self.ebpf.program(name).ok_or_else(|| missing(name))? {
            aya::programs::Program::SchedClassifier(program) => program.info(),
            aya::programs::Program::CgroupSockAddr(program) => program.info(),
            aya::programs::Program::Xdp(program) => program.info(),
            _ => return Err(missing(name)),
        };
        info.map_err(Error::program("inspect", name))
    }
}

fn missing(name: &'static str) -> Error {
    Error::program("find", name)(aya::programs::ProgramError::NotLoaded)
}

fn load_error(error: aya::EbpfError) -> Error {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::PermissionDenied
        {
            return Error::Privilege { action: "load BPF maps and programs" };
        }
        source = cause.source();
    }
    Error::Load(Box::new(error))
}
