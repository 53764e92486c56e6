//! The packages that programs need, read from what they are linked with.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::sh;

/// The needs of some programs together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// The newest symbols of the C library: 36 is 2.36.
    libc: Option<u32>,
    others: BTreeSet<&'static str>,
}

impl Needs {
    /// Adds a program's; scripts have none.
    pub(crate) fn add(&mut self, program: &Path) -> Result<()> {
        let mut magic = [0; 4];
        let mut file = File::open(program).with_context(|| format!("`{}`", program.display()))?;
        if file.read_exact(&mut magic).is_err() || magic != *b"\x7fELF" {
            return Ok(());
        }
        let mut readelf = sh::command("readelf");
        let text = sh::stdout(
            readelf.env("LC_ALL", "C").args(["--wide", "--dynamic", "--version-info"]).arg(program),
        );
        let text = text.with_context(|| format!("`readelf {}` failed", program.display()))?;
        self.read(&text).with_context(|| format!("`{}`", program.display()))
    }

    /// Adds what `readelf --wide --dynamic --version-info` says.
    pub(crate) fn read(&mut self, text: &str) -> Result<()> {
        for line in text.lines() {
            if let Some((_, library)) = line.split_once("Shared library: [") {
                match library.trim_end_matches(']') {
                    "libc.so.6" | "libm.so.6" | "ld-linux-x86-64.so.2" | "ld-linux-aarch64.so.1" => {
                        self.libc = self.libc.max(Some(0));
                    }
                    "libgcc_s.so.1" => drop(self.others.insert("libgcc-s1")),
                    other => bail!("no package is known for the library `{other}`"),
                }
            }
            if let Some((_, version)) = line.split_once("Name: GLIBC_") {
                let word = version.split_whitespace().next().unwrap_or_default();
                // Compact relocations are of 2.36, and say so by a name of their own.
                let minor = if word == "ABI_DT_RELR" { Some(36) } else { minor(word) };
                self.libc = self.libc.max(minor);
            }
        }
        Ok(())
    }

    /// As a package's field `Depends` lists them.
    pub(crate) fn packages(&self) -> Vec<String> {
        let libc = self.libc.map(|minor| match minor {
            0 => "libc6".to_owned(),
            minor => format!("libc6 (>= 2.{minor})"),
        });
        libc.into_iter().chain(self.others.iter().map(ToString::to_string)).collect()
    }
}

/// `2.34` and `2.2.5`: 34 and 2.
fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("2.")?.split('.').next()?.parse().ok()
}
