//! Objects as clusters have them, and such as no cluster should.

use fairway_proto::model::ObjectName;
use fairway_tests::apiserver::{Kind, Options};
use fairway_tests::trial::Trial;
use serde_json::json;

use crate::world::{Settings, World, service, slice};

pub(crate) const TRIALS: &[Trial<()>] = &[
    ("objects_of_a_real_cluster_are_served_without_a_problem", |()| Box::pin(recorded())),
    ("services_of_another_proxy_are_left_to_it", |()| Box::pin(of_another_proxy())),
    ("a_proxy_with_a_name_serves_what_has_that_name", |()| Box::pin(of_this_proxy())),
    ("headless_services_and_slices_of_names_are_not_served", |()| Box::pin(headless())),
    ("a_deleted_node_is_gone", |()| Box::pin(deleted_node())),
    ("an_object_that_cannot_be_read_is_refused_alone_and_told_of_once", |()| Box::pin(unreadable())),
];

/// Documents as `kubectl get -o yaml` prints them.
const RECORDED: [&str; 4] = [
    include_str!("../../fixtures/kubernetes/nodes.yaml"),
    include_str!("../../fixtures/kubernetes/services.yaml"),
    include_str!("../../fixtures/kubernetes/endpointslices.yaml"),
    include_str!("../../fixtures/kubernetes/pods.yaml"),
];

fn recorded_in(api: &fairway_tests::apiserver::ApiServer) -> anyhow::Result<()> {
    RECORDED.iter().try_for_each(|documents| api.apply(documents))
}

async fn recorded() -> anyhow::Result<()> {
    for streaming_lists in [true, false] {
        let options = Options { streaming_lists, ..Options::default() };
        let world = World::start(options, Settings::default(), recorded_in).await?;
        world.settled().await?;
        anyhow::ensure!(world.problems().is_empty(), "{:?}", world.problems());
        anyhow::ensure!(world.api.events().is_empty(), "{:?}", world.api.events());
        // Each of them comes again as an event.
        for kind in [Kind::Service, Kind::EndpointSlice, Kind::Node] {
            for mut object in world.api.objects(kind) {
                object["metadata"]["annotations"]["example.org/touched"] = json!("yes");
                world.api.put(object)?;
            }
        }
        world.api.put(service("last", 100))?;
        world.settled().await?;
        anyhow::ensure!(world.problems().is_empty(), "{:?}", world.problems());
    }
    Ok(())
}

const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

async fn of_another_proxy() -> anyhow::Result<()> {
    let world = World::up().await?;
    let mut labelled = service("s1", 1);
    labelled["metadata"]["labels"] = json!({ PROXY_NAME: "mesh" });
    world.api.put(labelled)?;
    // The controller copies a Service's labels to its slices.
    let mut its_slice = slice("s1", &["10.244.1.2"]);
    its_slice["metadata"]["labels"][PROXY_NAME] = json!("mesh");
    world.api.put(its_slice)?;
    world.settled().await?;
    let name = ObjectName::new("default", "s1");
    anyhow::ensure!(!world.view().cluster.services.contains_key(&name), "s1 is another proxy's");
    world.api.put(service("s1", 1))?;
    world.api.put(slice("s1", &["10.244.1.2"]))?;
    world.settled().await?;
    anyhow::ensure!(world.view().cluster.services.contains_key(&name), "s1 is back");
    Ok(())
}

async fn of_this_proxy() -> anyhow::Result<()> {
    let settings = Settings { service_proxy_name: Some("mesh".into()), ..Settings::default() };
    let world = World::start(Options::default(), settings, recorded_in).await?;
    world.settled().await?;
    let names: Vec<_> = world.view().cluster.services.keys().map(ToString::to_string).collect();
    anyhow::ensure!(names == ["shop/meshed"], "{names:?}");
    Ok(())
}

async fn headless() -> anyhow::Result<()> {
    let world = World::up().await?;
    let mut headless = service("headless", 100);
    headless["spec"]["clusterIP"] = json!("None");
    headless["spec"]["clusterIPs"] = json!(["None"]);
    world.api.put(headless)?;
    let mut its_slice = slice("headless", &["10.244.1.90"]);
    its_slice["metadata"]["labels"]["service.kubernetes.io/headless"] = json!("");
    world.api.put(its_slice)?;
    let mut names = slice("s3", &["backend.example.org"]);
    names["metadata"]["name"] = json!("names");
    names["addressType"] = json!("FQDN");
    world.api.put(names)?;
    world.api.put(service("after", 101))?;
    world.settled().await?;
    let cluster = world.view().cluster;
    let hidden = ["headless-abcde", "names"].map(|name| ObjectName::new("default", name));
    anyhow::ensure!(hidden.iter().all(|name| !cluster.slices.contains_key(name)), "{:?}", cluster.slices);
    anyhow::ensure!(world.problems().is_empty(), "{:?}", world.problems());
    Ok(())
}

async fn deleted_node() -> anyhow::Result<()> {
    let world = World::up().await?;
    anyhow::ensure!(world.api.delete(Kind::Node, "", "node-b"), "node-b was there");
    world.settled().await?;
    // The agent's own node too: what is said of it comes from its Node object alone.
    world.api.delete(Kind::Node, "", crate::world::NODE);
    world.settled().await?;
    anyhow::ensure!(world.view().cluster.nodes.is_empty(), "{:?}", world.view().cluster.nodes);
    Ok(())
}

async fn unreadable() -> anyhow::Result<()> {
    for streaming_lists in [true, false] {
        let options = Options { streaming_lists, ..Options::default() };
        let world = World::start(options, Settings::default(), |api| {
            crate::world::fill(api)?;
            let mut odd = service("odd", 200);
            odd["spec"]["ports"][0]["port"] = json!("eighty");
            api.put(odd)?;
            let mut address = service("no-address", 201);
            address["spec"]["clusterIP"] = json!("10.96.0.300");
            address["spec"]["clusterIPs"] = json!(["10.96.0.300"]);
            api.put(address)
        })
        .await?;
        let told = |name: &str| world.api.events().into_iter().filter(|event| event.name == name).count();
        let both = || told("odd") > 0 && told("no-address") > 0;
        world.eventually("an Event tells of each", both).await?;
        for event in world.api.events() {
            anyhow::ensure!(event.kind == "Service" && event.type_ == "Warning", "{event:?}");
        }
        world.eventually("all others are served", || world.view().cluster.services.len() == 10).await?;
        // Seen again, in another version and in a new list.
        world.watched().await?;
        let mut again = service("odd", 200);
        again["spec"]["ports"][0]["port"] = json!("eighty");
        again["metadata"]["labels"] = json!({ "again": "yes" });
        world.api.put(again)?;
        world.api.set_down(true)?;
        world.api.put(service("more", 202))?;
        world.api.compact();
        world.api.set_down(false)?;
        world.eventually("the list is new", || world.view().cluster.services.len() == 11).await?;
        anyhow::ensure!(told("odd") == 1 && told("no-address") == 1, "{:?}", world.api.events());
        let problems = world.problems();
        anyhow::ensure!(problems.iter().any(|problem| problem.contains("default/odd")), "{problems:?}");
        // Corrected.
        world.api.put(service("odd", 200))?;
        world.api.put(service("no-address", 201))?;
        world.settled().await?;
        world.eventually("there is no problem any more", || world.problems().is_empty()).await?;
    }
    Ok(())
}
