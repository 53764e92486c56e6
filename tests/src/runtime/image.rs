//! Container images made on the spot: nothing is pulled.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// What a sandbox runs: a static program that waits.
pub(crate) const PAUSE: &str = "fairway.lab/pause:1";
/// A root without files: programs and libraries are this machine's, mounted.
pub(crate) const ROOT: &str = "fairway.lab/root:1";

const BUSYBOX: &str = "/bin/busybox";
const SYSTEM: [&str; 6] = ["bin", "lib", "lib32", "lib64", "sbin", "usr"];

/// The archive of the image of this name, as `ctr images import` takes it.
///
/// # Errors
/// `busybox-static` is not installed.
pub(crate) fn archive(name: &str) -> io::Result<Vec<u8>> {
    match name {
        PAUSE => image(name, &pause()?, &["/busybox", "sleep", "infinity"]),
        _ => image(name, &root()?, &[]),
    }
}

/// Folders of this machine that programs need, for a container of [`ROOT`].
pub(crate) fn mounts() -> Vec<PathBuf> {
    let paths = SYSTEM.iter().map(|name| Path::new("/").join(name));
    paths.filter(|path| path.is_dir() && !path.is_symlink()).collect()
}

/// Puts what is in the image [`ROOT`] into a directory.
pub(super) fn lay_out(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    tar::Archive::new(root()?.as_slice()).unpack(directory)
}

fn pause() -> io::Result<Vec<u8>> {
    let program = fs::read(BUSYBOX).map_err(|error| {
        io::Error::new(error.kind(), format!("`{BUSYBOX}` ({error}): install busybox-static"))
    })?;
    let mut layer = Builder::new(Vec::new());
    add(&mut layer, "busybox", &program, 0o755)?;
    layer.into_inner()
}

/// Where this machine has links instead of folders (`/lib` to `usr/lib`), the image has the same.
fn root() -> io::Result<Vec<u8>> {
    let mut layer = Builder::new(Vec::new());
    for name in SYSTEM {
        let Ok(target) = fs::read_link(Path::new("/").join(name)) else { continue };
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        layer.append_link(&mut header, name, target)?;
    }
    layer.into_inner()
}

/// An OCI image of one layer.
fn image(name: &str, layer: &[u8], command: &[&str]) -> io::Result<Vec<u8>> {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": architecture, "os": "linux",
        "config": { "Cmd": command },
        "rootfs": { "type": "layers", "diff_ids": [digest(layer)] },
    });
    let mut blobs = BTreeMap::new();
    let mut blob = |kind: &str, content: Vec<u8>| {
        let of = descriptor(kind, &content);
        blobs.insert(digest(&content), content);
        of
    };
    let config = blob("config.v1+json", config.to_string().into_bytes());
    let layer = blob("layer.v1.tar", layer.to_vec());
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
    let mut manifest = blob("manifest.v1+json", manifest.to_string().into_bytes());
    manifest["annotations"] = json!({ "io.containerd.image.name": name });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    let mut archive = Builder::new(Vec::new());
    add(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
    add(&mut archive, "index.json", index.to_string().as_bytes(), 0o644)?;
    for (digest, content) in &blobs {
        add(&mut archive, &format!("blobs/{}", digest.replace(':', "/")), content, 0o644)?;
    }
    archive.into_inner()
}

fn add(archive: &mut Builder<Vec<u8>>, path: &str, content: &[u8], mode: u32) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    archive.append_data(&mut header, path, content)
}

fn descriptor(kind: &str, content: &[u8]) -> Value {
    let media_type = format!("application/vnd.oci.image.{kind}");
    json!({ "mediaType": media_type, "digest": digest(content), "size": content.len() })
}

fn digest(content: &[u8]) -> String {
    let hex: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_blob_of_an_image_is_named_by_its_digest() {
        let archive = archive(ROOT).unwrap();
        let mut blobs = 0;
        for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            io::Read::read_to_end(&mut entry, &mut content).unwrap();
            if let Some(name) = path.strip_prefix("blobs/") {
                assert_eq!(name.replace('/', ":"), digest(&content));
                blobs += 1;
            }
        }
        assert_eq!(blobs, 3);
    }
}
