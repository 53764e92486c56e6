//! Compiles the program that measures the kernel programs.

fn main() -> anyhow::Result<()> {
    let sources = [
        "../ebpf/src/harness.rs",
        "../ebpf/src/harness",
        "../ebpf/src/object.rs",
        "../common/src/harness.rs",
    ];
    xtask::bpf::embed("fairway-harness", "harness", &sources)
}
