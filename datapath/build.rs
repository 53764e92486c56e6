//! Compiles the kernel programs, which the crate embeds.

fn main() -> anyhow::Result<()> {
    xtask::bpf::embed("fairway-ebpf", "fairway", &["../ebpf/src", "../common/src"])
}
