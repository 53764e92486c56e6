//! Packages of programs that are none: what is in them, and that the same goes in always gives the same bytes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tempfile::TempDir;

use super::needs::Needs;
use super::*;

const EPOCH: u64 = 1_700_000_000;

struct World {
    folder: TempDir,
    inputs: Inputs,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["fairway", "fairway-agent", "fairway-control", "fairway-cni"] {
            let path = folder.path().join(name);
            fs::write(&path, "#!/bin/sh\necho \"# $1 for $2\"\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        }
        let inputs = Inputs {
            binaries: folder.path().to_owned(),
            epoch: EPOCH,
            version: "1.2.3".into(),
            architecture: "amd64".into(),
            maintainer: maintainer(|_| None),
            notices: "of others\n".into(),
        };
        Self { folder, inputs }
    }

    fn pack(&self, name: &str) -> Vec<PathBuf> {
        pack(&self.inputs, &self.folder.path().join(name)).unwrap()
    }
}

fn output(command: &mut Command) -> String {
    let output = command.env("LC_ALL", "C").env("TZ", "UTC").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn named<'a>(paths: &'a [PathBuf], name: &str) -> &'a PathBuf {
    paths.iter().find(|path| path.ends_with(name)).unwrap_or_else(|| panic!("no {name} in {paths:?}"))
}

/// `MODE OWNER PATH` of everything that is no folder.
fn contents(deb: &Path) -> Vec<String> {
    let text = output(Command::new("dpkg-deb").arg("--contents").arg(deb));
    let lines = text.lines().filter(|line| !line.starts_with('d'));
    lines
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(words[3..5], ["2023-11-14", "22:13"], "{line}");
            format!("{} {} {}", words[0], words[1], words[5..].join(" "))
        })
        .collect()
}

fn field(deb: &Path, name: &str) -> String {
    output(Command::new("dpkg-deb").arg("--field").arg(deb).arg(name)).trim().to_owned()
}

/// A file of the package's own archive, or of its control archive.
fn file(deb: &Path, control: bool, path: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let how = if control { "--control" } else { "--extract" };
    output(Command::new("dpkg-deb").arg(how).arg(deb).arg(folder.path()));
    fs::read_to_string(folder.path().join(path)).unwrap()
}

#[test]
fn the_agents_package_has_its_programs_unit_settings_completions_and_licences() {
    let world = World::new();
    let made = world.pack("out");
    let deb = named(&made, "fairway-agent_1.2.3_amd64.deb");
    assert_eq!(
        contents(deb),
        [
            "-rw-r--r-- root/root ./etc/fairway/agent.toml",
            "-rw-r--r-- root/root ./lib/systemd/system/fairway-agent.service",
            "-rwxr-xr-x root/root ./usr/bin/fairway",
            "-rwxr-xr-x root/root ./usr/bin/fairway-agent",
            "-rwxr-xr-x root/root ./usr/lib/cni/fairway-cni",
            "-rw-r--r-- root/root ./usr/share/bash-completion/completions/fairway",
            "-rw-r--r-- root/root ./usr/share/doc/fairway-agent/LICENSE",
            "-rw-r--r-- root/root ./usr/share/doc/fairway-agent/LICENSE-GPL-2.0",
            "-rw-r--r-- root/root ./usr/share/doc/fairway-agent/README.md",
            "-rw-r--r-- root/root ./usr/share/doc/fairway-agent/THIRD-PARTY",
            "-rw-r--r-- root/root ./usr/share/doc/fairway-agent/copyright",
            "-rw-r--r-- root/root ./usr/share/fish/vendor_completions.d/fairway.fish",
            "-rw-r--r-- root/root ./usr/share/zsh/vendor-completions/_fairway",
            // Links come last, so that what they lead to is there.
            "lrwxrwxrwx root/root ./opt/cni/bin/fairway-cni -> /usr/lib/cni/fairway-cni",
        ]
    );
    let completion = file(deb, false, "usr/share/zsh/vendor-completions/_fairway");
    assert_eq!(completion, "# completion for zsh\n");
    assert_eq!(file(deb, true, "conffiles"), "/etc/fairway/agent.toml\n");
}

#[test]
fn the_control_planes_package_has_a_folder_for_manifests_and_no_agent() {
    let world = World::new();
    let made = world.pack("out");
    let deb = named(&made, "fairway-control_1.2.3_amd64.deb");
    let contents = contents(deb);
    let has = |end: &str| contents.iter().any(|line| line.ends_with(end));
    assert!(has("./usr/bin/fairway-control") && has("./lib/systemd/system/fairway-control.service"));
    assert!(!has("fairway-agent"), "{contents:?}");
    let folders = output(Command::new("dpkg-deb").arg("--contents").arg(deb));
    assert!(
        folders.lines().any(|line| line.starts_with("drwxr-xr-x root/root") && line.ends_with("/manifests/"))
    );
    assert_eq!(file(deb, true, "conffiles"), "/etc/fairway/control.env\n");
}

#[test]
fn a_package_says_what_it_is_and_what_it_needs() {
    let world = World::new();
    // A program of this machine in place of one that is none.
    fs::copy("/bin/true", world.folder.path().join("fairway-control")).unwrap();
    let made = world.pack("out");
    let deb = named(&made, "fairway-control_1.2.3_amd64.deb");
    for (name, expected) in [
        ("Package", "fairway-control"),
        ("Version", "1.2.3"),
        ("Architecture", "amd64"),
        ("Maintainer", "Fairway <root@localhost>"),
        ("Suggests", "fairway-agent"),
        ("Section", "net"),
    ] {
        assert_eq!(field(deb, name), expected);
    }
    assert!(field(deb, "Depends").starts_with("libc6 (>= 2."), "{}", field(deb, "Depends"));
    assert!(field(deb, "Installed-Size").parse::<u64>().is_ok_and(|kib| kib > 30));
    assert_eq!(field(named(&made, "fairway-agent_1.2.3_amd64.deb"), "Depends"), "");
}

#[test]
fn a_unit_starts_the_program_of_its_package() {
    let world = World::new();
    let made = world.pack("out");
    for name in ["fairway-agent", "fairway-control"] {
        let deb = named(&made, &format!("{name}_1.2.3_amd64.deb")).clone();
        let unit = file(&deb, false, &format!("lib/systemd/system/{name}.service"));
        let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        let program = line.split(' ').next().unwrap();
        assert!(contents(&deb).iter().any(|line| line.ends_with(&format!(" .{program}"))), "{program}");
        assert!(!unit.contains("/usr/local"));
    }
}

#[test]
fn the_scripts_are_shell_scripts_that_enable_nothing_by_themselves() {
    let world = World::new();
    let made = world.pack("out");
    for name in ["fairway-agent", "fairway-control"] {
        let deb = named(&made, &format!("{name}_1.2.3_amd64.deb"));
        for script in ["postinst", "prerm", "postrm"] {
            let text = file(deb, true, script);
            let path = world.folder.path().join(script);
            fs::write(&path, &text).unwrap();
            output(Command::new("sh").arg("-n").arg(&path));
            assert!(text.contains(&format!("{name}.service")) && !text.contains('@'), "{text}");
            assert!(!text.contains("invoke start"), "{text}");
        }
        let cleans_up =
            file(deb, true, "prerm").contains("fairway-agent --config /etc/fairway/agent.toml cleanup");
        assert_eq!(cleans_up, name == "fairway-agent");
    }
}

#[test]
fn the_same_goes_in_and_the_same_bytes_come_out() {
    let world = World::new();
    let first = world.pack("first");
    // Later, and with other times and modes of the programs.
    for name in ["fairway", "fairway-agent", "fairway-control", "fairway-cni"] {
        let path = world.folder.path().join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        fs::File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(std::time::SystemTime::now())
            .unwrap();
    }
    let second = world.pack("second");
    assert_eq!(first.len(), 4);
    for (one, other) in first.iter().zip(&second) {
        assert_eq!(one.file_name(), other.file_name());
        assert!(fs::read(one).unwrap() == fs::read(other).unwrap(), "{} differs", one.display());
    }
    let left: Vec<_> = fs::read_dir(world.folder.path().join("first")).unwrap().collect();
    assert_eq!(left.len(), 4, "no folder of the packing stays");
}

#[test]
fn the_tarball_has_one_folder_with_programs_units_manifests_and_licences() {
    let world = World::new();
    let made = world.pack("out");
    let tarball = named(&made, "fairway-1.2.3-linux-amd64.tar.gz");
    let list = output(Command::new("tar").arg("-tf").arg(tarball));
    assert!(list.lines().all(|line| line.starts_with("fairway-1.2.3-linux-amd64/")), "{list}");
    for path in [
        "bin/fairway-agent",
        "bin/fairway-cni",
        "completions/_fairway",
        "deploy/systemd/fairway-agent.service",
        "deploy/config/control.env",
        "deploy/kubernetes/kustomization.yaml",
        "deploy/Containerfile",
        "README.md",
        "LICENSE-GPL-2.0",
        "THIRD-PARTY",
    ] {
        assert!(list.lines().any(|line| line.ends_with(&format!("-amd64/{path}"))), "{path} in {list}");
    }
    let sums = fs::read_to_string(named(&made, "SHA256SUMS")).unwrap();
    assert_eq!(sums.lines().count(), 3);
}

#[test]
fn needs_are_the_newest_symbols_of_the_c_library_and_the_packages_of_others() {
    let mut needs = Needs::default();
    needs.read(" 0x0001 (NEEDED)  Shared library: [libc.so.6]\n").unwrap();
    assert_eq!(needs.packages(), ["libc6"]);
    let versions =
        "  0x0010:   Name: GLIBC_2.2.5  Flags: none  Version: 9\n  0x0020:   Name: GLIBC_2.34  Flags: none\n";
    needs.read(versions).unwrap();
    needs
        .read(" 0x0001 (NEEDED)  Shared library: [libgcc_s.so.1]\n  0x0:  Name: GCC_3.3  Flags: none\n")
        .unwrap();
    assert_eq!(needs.packages(), ["libc6 (>= 2.34)", "libgcc-s1"]);
    let error = needs.read(" 0x0001 (NEEDED)  Shared library: [libssl.so.3]\n").unwrap_err().to_string();
    assert_eq!(error, "no package is known for the library `libssl.so.3`");
}

#[test]
fn the_maintainer_is_who_debians_tools_say() {
    let env = |name: &str| match name {
        "DEBFULLNAME" => Some("A B".to_owned()),
        "DEBEMAIL" => Some("a@example.org".to_owned()),
        _ => None,
    };
    assert_eq!(maintainer(env), "A B <a@example.org>");
}
