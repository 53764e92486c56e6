//! The program that gives each run its packet, and then becomes the program under test.

use std::os::fd::AsFd;

use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, MapData, ProgramArray};
use aya::programs::{Program, ProgramFd};
use aya::{Ebpf, EbpfLoader};
use fairway_common::harness::Plan;

use super::test_run::{Kind, test_run};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/harness.bpf.o"));

pub(crate) struct Harness {
    object: Ebpf,
    plan: Array<MapData, Plan>,
    tc: ProgramArray<MapData>,
    xdp: ProgramArray<MapData>,
}

/// What is measured: packets of one kind, at a device.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) plan: Plan,
    pub(crate) packet: Vec<u8>,
    pub(crate) device: u32,
}

impl Harness {
    pub(crate) fn load() -> Result<Self> {
        let mut object = EbpfLoader::new().load(OBJECT)?;
        for (_, program) in object.programs_mut() {
            match program {
                Program::SchedClassifier(program) => program.load()?,
                Program::Xdp(program) => program.load()?,
                _ => anyhow::bail!("a program of another type in the harness"),
            }
        }
        let mut take = |name| object.take_map(name).with_context(|| format!("no map `{name}`"));
        let (plan, tc, xdp) = (take("PLAN")?, take("TC")?, take("XDP")?);
        Ok(Self { plan: plan.try_into()?, tc: tc.try_into()?, xdp: xdp.try_into()?, object })
    }

    fn fd(&self, name: &str) -> Result<&ProgramFd> {
        let program = self.object.program(name).with_context(|| format!("no program `{name}`"))?;
        Ok(program.fd()?)
    }

    /// Its programs whose names begin so.
    pub(crate) fn names(&self, prefix: &str) -> Vec<String> {
        self.object
            .programs()
            .map(|(name, _)| name.to_owned())
            .filter(|name| name.starts_with(prefix))
            .collect()
    }

    /// Writes so many keys into the tables of the primitives.
    pub(crate) fn fill(&mut self, keys: u32) -> Result<()> {
        for name in ["HASH", "LRU", "LRU_FULL"] {
            let map = self.object.map_mut(name).with_context(|| format!("no map `{name}`"))?;
            let mut map: HashMap<_, [u32; 4], [u64; 8]> = map.try_into()?;
            for key in 0..keys {
                map.insert([key, 0, 0, 0], [1; 8], 0)?;
            }
        }
        Ok(())
    }

    /// Runs a program of its own on a packet: the mean nanoseconds of a run.
    pub(crate) fn run_alone(&self, name: &str, load: &Load, repeat: u32) -> Result<u32> {
        Ok(test_run(Kind::Tc, self.fd(name)?.as_fd(), &load.packet, load.device, repeat)?.1)
    }

    /// Runs a program, or the empty one, so many times: the last verdict, and the mean nanoseconds of a run.
    pub(crate) fn run(
        &mut self,
        kind: Kind,
        program: Option<&ProgramFd>,
        load: &Load,
        repeat: u32,
    ) -> Result<(i32, u32)> {
        self.plan.set(0, load.plan, 0)?;
        let (harness, empty) = match kind {
            Kind::Tc => ("tc_harness", "tc_empty"),
            Kind::Xdp => ("xdp_harness", "xdp_empty"),
        };
        let program = match program {
            Some(program) => program.try_clone()?,
            None => self.fd(empty)?.try_clone()?,
        };
        let table = match kind {
            Kind::Tc => &mut self.tc,
            Kind::Xdp => &mut self.xdp,
        };
        table.set(0, &program, 0)?;
        Ok(test_run(kind, self.fd(harness)?.as_fd(), &load.packet, load.device, repeat)?)
    }
}
