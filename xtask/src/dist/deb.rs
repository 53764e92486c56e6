//! One Debian package.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::contents::Package;
use super::stage::{Content, Entry, Stage};
use super::{Inputs, needs, tool};
use crate::sh;

/// Writes `NAME_VERSION_ARCHITECTURE.deb` into `out`.
pub(crate) fn write(inputs: &Inputs, package: &Package, out: &Path) -> Result<PathBuf> {
    let file = format!("{}_{}_{}.deb", package.name, inputs.version, inputs.architecture);
    let stage = Stage::fill(out, package.name, &package.entries)?;
    stage.add(&[
        script("postinst", POSTINST, package),
        script("prerm", PRERM, package),
        script("postrm", POSTRM, package),
        Entry::text("DEBIAN/conffiles", conffiles(&package.entries)),
        Entry::text("DEBIAN/md5sums", md5sums(inputs, &stage, &package.entries)?),
        Entry::text("DEBIAN/control", control(inputs, package, stage.kib()?)?),
    ])?;
    stage.seal(inputs.epoch)?;
    let path = out.join(file);
    sh::run_quietly(
        // More threads would cut the data elsewhere.
        tool(inputs, "dpkg-deb")
            .args(["--root-owner-group", "-Zxz", "--threads-max=1", "--build"])
            .args([&stage.root, &path]),
    )?;
    Ok(path)
}

fn control(inputs: &Inputs, package: &Package, kib: u64) -> Result<String> {
    let mut depends = needs::Needs::default();
    for entry in package.entries.iter().filter(|entry| entry.mode & 0o111 != 0) {
        if let Content::Copy(program) = &entry.content {
            depends.add(program)?;
        }
    }
    let mut text = format!(
        "Package: {}\nVersion: {}\nArchitecture: {}\nMaintainer: {}\nInstalled-Size: {kib}\n",
        package.name, inputs.version, inputs.architecture, inputs.maintainer
    );
    let depends = depends.packages();
    if !depends.is_empty() {
        let _ = writeln!(text, "Depends: {}", depends.join(", "));
    }
    let _ = writeln!(text, "Suggests: {}", package.suggests);
    let _ = writeln!(text, "Section: net\nPriority: optional\nDescription: {}", package.summary);
    for line in package.description {
        let _ = writeln!(text, " {line}");
    }
    Ok(text)
}

fn conffiles(entries: &[Entry]) -> String {
    let files = entries.iter().filter(|entry| !matches!(entry.content, Content::EmptyFolder));
    files.filter(|entry| entry.path.starts_with("etc/")).map(|entry| format!("/{}\n", entry.path)).collect()
}

fn md5sums(inputs: &Inputs, stage: &Stage, entries: &[Entry]) -> Result<String> {
    let is_file = |entry: &&Entry| matches!(entry.content, Content::Copy(_) | Content::Text(_));
    let mut files: Vec<&str> = entries.iter().filter(is_file).map(|entry| entry.path.as_str()).collect();
    files.sort_unstable();
    sh::stdout(tool(inputs, "md5sum").args(files).current_dir(&stage.root)).context("`md5sum` failed")
}

fn script(name: &str, text: &str, package: &Package) -> Entry {
    let on_remove = match package.on_remove {
        "" => String::new(),
        command => format!("        {command} || true\n"),
    };
    let text = text.replace("@ON_REMOVE@", &on_remove).replace("@UNIT@", package.unit);
    Entry { mode: 0o755, ..Entry::text(format!("DEBIAN/{name}"), text) }
}

/// As Debian's packages do it whose unit is neither enabled nor started by being installed.
const POSTINST: &str = "\
#!/bin/sh
set -e
case \"$1\" in
configure | abort-upgrade | abort-deconfigure | abort-remove)
    # Only what a removal masked is unmasked, and only what was enabled is enabled again.
    if deb-systemd-helper debian-installed @UNIT@; then
        deb-systemd-helper unmask @UNIT@ >/dev/null || true
        if deb-systemd-helper --quiet was-enabled @UNIT@; then
            deb-systemd-helper enable @UNIT@ >/dev/null || true
        fi
    fi
    deb-systemd-helper update-state @UNIT@ >/dev/null || true
    if [ -d /run/systemd/system ]; then
        systemctl --system daemon-reload >/dev/null || true
        # An upgrade: what runs is the new one from now on. Connections go on meanwhile.
        if [ -n \"$2\" ]; then
            deb-systemd-invoke try-restart @UNIT@ >/dev/null || true
        fi
    fi
    ;;
esac
";

const PRERM: &str = "\
#!/bin/sh
set -e
if [ \"$1\" = remove ] && [ -z \"${DPKG_ROOT:-}\" ] && [ -d /run/systemd/system ]; then
    if systemctl --quiet is-active @UNIT@; then
        deb-systemd-invoke stop @UNIT@ >/dev/null || true
@ON_REMOVE@    fi
fi
";

const POSTRM: &str = "\
#!/bin/sh
set -e
if [ \"$1\" = remove ] && [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || true
fi
if [ \"$1\" = purge ] && [ -x /usr/bin/deb-systemd-helper ]; then
    deb-systemd-helper purge @UNIT@ >/dev/null || true
fi
";
