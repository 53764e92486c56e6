//! How large the programs are.

#[expect(clippy::unwrap_used, reason = "shared with the verifier's test")]
#[path = "../../../datapath/tests/verifier/log.rs"]
mod log;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use fairway_datapath::Datapath;

use self::log::{Pins, load, stack, verdict};

/// Instructions and stack by program.
pub(crate) type Shapes = BTreeMap<&'static str, Shape>;

/// The size of one program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    /// Instructions after the verifier's changes.
    pub(crate) insns: u32,
    /// Bytes of stack of each of its functions: of two families, one at a time.
    pub(crate) stack: String,
}

impl Shape {
    /// Bytes of its largest frame.
    pub(crate) fn deepest(&self) -> u32 {
        self.stack.split('+').filter_map(|frame| frame.trim().parse().ok()).max().unwrap_or(0)
    }
}

/// The packet programs that are measured.
const MEASURED: [&str; 4] = ["from_pod", "to_pod", "from_network", "to_network"];

/// Instructions as they are loaded; stack as the verifier sees it when all settings are on.
pub(crate) fn all(datapath: &mut Datapath) -> Result<Shapes> {
    let pins = Pins(format!("/sys/fs/bpf/fwtest-{}-shape", std::process::id()).into());
    let maps = pins.0.join("v1");
    std::fs::create_dir_all(&maps).context("cannot create pins")?;
    let mut object = load(&maps, 0);
    MEASURED
        .into_iter()
        .map(|name| {
            let bytes = datapath.classifier(name)?.info()?.size_translated().unwrap_or(0);
            let log = verdict(object.program_mut(name).with_context(|| format!("no program `{name}`"))?);
            Ok((name, Shape { insns: bytes / 8, stack: stack(&log).unwrap_or_default().to_owned() }))
        })
        .collect()
}
