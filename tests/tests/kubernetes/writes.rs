//! What the control plane writes, and that it writes nothing else.

use fairway_tests::apiserver::{Kind, Options, Request};
use fairway_tests::trial::Trial;
use serde_json::json;

use crate::agent::Agent;
use crate::world::{NODE, Settings, World, fill, node, service};

pub(crate) const TRIALS: &[Trial<()>] = &[
    ("the_network_of_a_node_with_an_agent_is_available", |()| Box::pin(condition())),
    ("a_cloud_s_word_on_the_network_is_replaced_and_the_rest_kept", |()| Box::pin(replaced())),
    ("nothing_but_the_condition_is_written", |()| Box::pin(nothing_else())),
    ("replicas_have_one_state_and_tell_everything_once", |()| Box::pin(replicas())),
];

fn network(world: &World, name: &str) -> Option<String> {
    let conditions = world.api.node_conditions(name);
    let condition = conditions.iter().find(|condition| condition["type"] == "NetworkUnavailable")?;
    condition["status"].as_str().map(Into::into)
}

fn writes(world: &World) -> Vec<Request> {
    world.api.requests().into_iter().filter(|request| request.verb.writes()).collect()
}

async fn available(world: &World) -> anyhow::Result<()> {
    world.eventually("the condition is written", || network(world, NODE).as_deref() == Some("False")).await
}

async fn condition() -> anyhow::Result<()> {
    let world = World::up().await?;
    available(&world).await?;
    let conditions = world.api.node_conditions(NODE);
    let condition = conditions.iter().find(|condition| condition["type"] == "NetworkUnavailable");
    let condition = condition.cloned().unwrap_or_default();
    for field in ["reason", "message", "lastTransitionTime", "lastHeartbeatTime"] {
        anyhow::ensure!(condition[field].is_string(), "{condition} without {field}");
    }
    // What the kubelet has written stays.
    anyhow::ensure!(conditions.iter().any(|condition| condition["type"] == "Ready"), "{conditions:?}");
    anyhow::ensure!(network(&world, "node-b").is_none(), "node-b has no agent");
    Ok(())
}

async fn replaced() -> anyhow::Result<()> {
    let world = World::start(Options::default(), Settings::default(), |api| {
        fill(api)?;
        let mut ours = node(NODE, 1);
        ours["status"]["conditions"] = json!([
            { "type": "NetworkUnavailable", "status": "True", "reason": "NoRouteCreated" },
            { "type": "Ready", "status": "True", "reason": "KubeletReady" },
        ]);
        ours["metadata"]["managedFields"] = json!([{
            "manager": "cloud-controller-manager", "operation": "Update", "apiVersion": "v1", "subresource": "status",
            "fieldsType": "FieldsV1",
            "fieldsV1": { "f:status": { "f:conditions": { "k:{\"type\":\"NetworkUnavailable\"}": { ".": {} } } } },
        }]);
        api.put(ours)
    })
    .await?;
    available(&world).await?;
    let node = world.api.object(Kind::Node, "", NODE).unwrap_or_default();
    let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
    anyhow::ensure!(conditions.len() == 2, "{conditions:?}");
    anyhow::ensure!(node["status"]["addresses"].as_array().is_some_and(|all| all.len() == 2), "{node}");
    Ok(())
}

async fn nothing_else() -> anyhow::Result<()> {
    let world = World::up().await?;
    available(&world).await?;
    // Much happens, none of it a reason to write: the Node too, as its kubelet writes it every few minutes.
    for round in 0..20 {
        world.api.put(service(&format!("new{round}"), 100 + round))?;
        let mut node = world.api.object(Kind::Node, "", NODE).unwrap_or_default();
        node["status"]["conditions"][0]["lastHeartbeatTime"] = json!(format!("2026-03-07T08:20:{round:02}Z"));
        world.api.put(node)?;
        world.settled().await?;
    }
    world.api.set_down(true)?;
    world.api.compact();
    world.api.put(service("last", 200))?;
    world.api.set_down(false)?;
    world.settled().await?;
    let writes = writes(&world);
    let status = format!("/api/v1/nodes/{NODE}/status");
    anyhow::ensure!(writes.len() == 1 && writes[0].path == status, "{writes:?}");
    Ok(())
}

async fn replicas() -> anyhow::Result<()> {
    let world = World::start(Options::default(), Settings::default(), |api| {
        fill(api)?;
        let mut odd = service("odd", 200);
        odd["spec"]["ports"][0]["port"] = json!(99_999);
        api.put(odd)
    })
    .await?;
    let (control, other) = world.replica("node-b").await?;
    // The same node at two control planes, as when it changes from one to the other.
    let same = Agent::connect(control.channel(), NODE);
    world.eventually("both nodes have a network", || network(&world, "node-b").is_some()).await?;
    available(&world).await?;
    world.eventually("an Event tells of the odd one", || !world.api.events().is_empty()).await?;
    for round in 0..5 {
        world.api.put(service(&format!("new{round}"), 100 + round))?;
    }
    let one = || {
        let views = [world.view(), other.view(), same.view()];
        let first = &views[0];
        let all = views.iter().all(|view| view.digest == first.digest && view.cluster == first.cluster);
        all && first.digest != 0 && first.cluster.services.len() == 15
    };
    world.eventually("all agents have one state", one).await?;
    let told = || !control.problems().is_empty() && !world.problems().is_empty();
    world.eventually("both know what is odd", told).await?;
    let events = world.api.events();
    anyhow::ensure!(events.len() == 1 && events[0].name == "odd", "{events:?}");
    for node in [NODE, "node-b"] {
        let path = format!("/api/v1/nodes/{node}/status");
        let count = writes(&world).iter().filter(|request| request.path == path).count();
        anyhow::ensure!((1..=2).contains(&count), "{count} writes for {node}");
        let conditions = world.api.node_conditions(node);
        anyhow::ensure!(conditions.len() == 2, "{conditions:?}");
    }
    Ok(())
}
