//! podman, which keeps no daemon and calls the plugin by itself.

use anyhow::{Context, ensure};
use fairway_tests::eventually;
use fairway_tests::runtime::Podman;
use fairway_tests::traffic::Outcome;
use fairway_tests::trial::Trial;
use futures::FutureExt;

use super::held::Held;
use super::world::{NODES, World, service};

pub(crate) const TRIALS: &[Trial<World>] = &[
    // S116, S124, S126
    ("a_container_of_podman_reaches_a_service_and_leaves_nothing", |world| container(world).boxed()),
];

const NAME: &str = "by-podman";

async fn container(world: &World) -> anyhow::Result<()> {
    let podman = Podman::of(&world.lab.state, NODES[0])?;
    let backend = podman.run(&["info", "--format", "{{.Host.NetworkBackend}}"])?;
    ensure!(backend == "cni", "this podman makes its networks by `{backend}`, and calls no CNI plugin");
    let before = Held::on(&world.lab, NODES[0])?;
    let cgroup = world.lab.state.containers(NODES[0], NAME);
    podman.start(
        &cgroup,
        NAME,
        &["fairway-lab", "serve", "--name", NAME, "--tcp", "8080", "--linger", "0"],
    )?;
    reaches(&podman)?;
    podman.run(&["stop", "--time", "1", NAME])?;
    let stopped = Held::on(&world.lab, NODES[0])?;
    ensure!(stopped == before, "stopped: {stopped:?}, before {before:?}");
    // podman's own clean-up of what was stopped goes on behind its back: until then runc knows the container still.
    let again = async || {
        podman.run(&["container", "cleanup", NAME]).ok();
        podman.run(&["start", NAME]).map_err(|error| format!("{error:#}"))
    };
    eventually("podman starts it again", again, |started| started.is_ok()).await?.ok();
    reaches(&podman)?;
    podman.run(&["rm", "--force", "--time", "0", NAME])?;
    let removed = Held::on(&world.lab, NODES[0])?;
    ensure!(removed == before, "removed: {removed:?}, before {before:?}");
    Ok(())
}

fn reaches(podman: &Podman) -> anyhow::Result<()> {
    for v6 in [false, true] {
        let to = std::net::SocketAddr::from(service(v6)).to_string();
        let asked = podman.run(&["exec", NAME, "fairway-lab", "request", "tcp", &to, "--json"])?;
        let outcome: Outcome = serde_json::from_str(&asked).context(asked)?;
        ensure!(outcome.name().is_some_and(|name| name.starts_with("web-")), "{outcome:?}");
    }
    Ok(())
}
