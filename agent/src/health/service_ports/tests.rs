//! The ports, asked for over HTTP as load balancers do.

use std::time::Instant;

use fairway_proto::model::{Cluster, Endpoint, EndpointPort, EndpointSlice, Protocol, Resource, ServicePort};
use serde_json::json;

use super::super::Metrics;
use super::super::probes::LATE;
use super::super::tests::{Page, page};
use super::*;
use crate::resolve::{LocalNode, NodePortAddresses};

const V4: &str = "127.0.0.11";

fn free_port(address: &str) -> u16 {
    std::net::TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port()
}

fn service(name: &str, port: u16, external_policy: TrafficPolicy) -> Resource {
    Resource::Service(Service {
        name: ObjectName::new("default", name),
        service_type: ServiceType::LoadBalancer,
        cluster_ips: vec![],
        external_ips: vec![],
        load_balancer_ips: vec![],
        ports: vec![ServicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: Some(30080),
        }],
        internal_policy: TrafficPolicy::Cluster,
        external_policy,
        health_check_node_port: Some(port),
        affinity_seconds: None,
        source_ranges: vec![],
        publish_not_ready: false,
        traffic_distribution: None,
        annotations: BTreeMap::new(),
    })
}

/// `state` is `ready`, `unready` or `terminating`, which still serves.
fn endpoint(address: &str, node: &str, state: &str) -> Endpoint {
    Endpoint {
        address: address.parse().unwrap(),
        ready: state == "ready",
        serving: state != "unready",
        terminating: state == "terminating",
        node: Some(node.into()),
        zone: None,
        hint_zones: Box::default(),
        hint_nodes: Box::default(),
        pod: None,
    }
}

fn slice(service: &str, name: &str, port: u16, endpoints: Vec<Endpoint>) -> Resource {
    Resource::EndpointSlice(EndpointSlice {
        name: ObjectName::new("default", name),
        service: ObjectName::new("default", service),
        ports: vec![EndpointPort { name: "http".into(), protocol: Protocol::Tcp, port }],
        endpoints,
        last_change: None,
    })
}

/// Node `a`, with one address of each family.
struct World {
    state: watch::Sender<Arc<SyncState>>,
    metrics: Arc<Metrics>,
    port: u16,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl World {
    fn start() -> Self {
        let addresses = vec![V4.parse().unwrap(), "::1".parse().unwrap()];
        let node = LocalNode { name: "a".into(), addresses, ..LocalNode::default() };
        let state = watch::Sender::new(Arc::new(SyncState { node, ..SyncState::default() }));
        let (metrics, stop) = (Arc::<Metrics>::default(), CancellationToken::new());
        let health = Health::new(state.subscribe(), metrics.clone());
        let (sender, stopped) = (state.clone(), stop.clone());
        let task = tokio::spawn(async move { keep(health, &sender, stopped).await });
        Self { state, metrics, port: free_port(V4), stop, task }
    }

    fn serve(&self, resources: impl IntoIterator<Item = Resource>) {
        let mut cluster = Cluster::default();
        resources.into_iter().for_each(|resource| cluster.insert(resource));
        self.change(|state| state.cluster = Arc::new(cluster));
    }

    fn web(&self, endpoints: Vec<Endpoint>) -> [Resource; 2] {
        [service("web", self.port, TrafficPolicy::Local), slice("web", "web-1", 8080, endpoints)]
    }

    fn change(&self, change: impl FnOnce(&mut SyncState)) {
        self.state.send_modify(|state| change(Arc::make_mut(state)));
    }

    async fn ask(&self, address: &str) -> Option<Page> {
        page(SocketAddr::new(address.parse().unwrap(), self.port), "/any/path?at=all").await
    }

    /// Waits until the page at the address is as wanted; none: nobody listens.
    async fn until(&self, address: &str, wanted: impl Fn(Option<&Page>) -> bool) -> Option<Page> {
        let until = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            let page = self.ask(address).await;
            if wanted(page.as_ref()) {
                return page;
            }
            assert!(tokio::time::Instant::now() < until, "not in time, last: {page:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until so many endpoints are counted; the status.
    async fn counts(&self, address: &str, endpoints: usize) -> u16 {
        let weight = endpoints.to_string();
        let counted = |page: Option<&Page>| {
            page.and_then(|p| p.header("x-load-balancing-endpoint-weight")) == Some(&weight)
        };
        self.until(address, counted).await.unwrap().status
    }

    async fn closed(&self, address: &str) {
        self.until(address, |page| page.is_none()).await;
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

// S105
#[tokio::test]
async fn any_path_answers_how_many_local_endpoints_there_are() {
    let world = World::start();
    world.serve(world.web(vec![endpoint("10.0.0.1", "a", "ready")]));
    assert_eq!(world.counts(V4, 1).await, 200);
    let page = world.ask(V4).await.unwrap();
    assert_eq!(page.header("content-type"), Some("application/json"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let wanted = json!({
        "service": {"namespace": "default", "name": "web"},
        "localEndpoints": 1,
        "serviceProxyHealthy": true,
    });
    assert_eq!(page.json(), wanted);
    world.stop().await;
}

// S105
#[tokio::test]
async fn without_local_endpoints_it_is_unavailable() {
    let world = World::start();
    world.serve(world.web(vec![endpoint("10.0.1.1", "b", "ready")]));
    assert_eq!(world.counts(V4, 0).await, 503);
    assert_eq!(world.ask(V4).await.unwrap().json()["serviceProxyHealthy"], true);
    world.stop().await;
}

// S105, S109
#[tokio::test]
async fn a_data_path_that_is_late_is_unavailable_with_endpoints_too() {
    let world = World::start();
    world.serve(world.web(vec![endpoint("10.0.0.1", "a", "ready")]));
    assert_eq!(world.counts(V4, 1).await, 200);
    let Some(since) = Instant::now().checked_sub(LATE + Duration::from_secs(1)) else {
        return; // The machine has been up for a minute at most.
    };
    world.metrics.waits_since(since);
    let page = world.ask(V4).await.unwrap();
    assert_eq!((page.status, &page.json()["serviceProxyHealthy"]), (503, &json!(false)));
    assert_eq!(page.json()["localEndpoints"], 1);
    world.stop().await;
}

// S106
#[tokio::test]
async fn addresses_that_are_ready_count_once_and_others_do_not() {
    let world = World::start();
    let [web, first] = world.web(vec![
        endpoint("10.0.0.1", "a", "ready"),
        endpoint("10.0.0.2", "a", "ready"),
        endpoint("10.0.0.3", "a", "unready"),
        endpoint("10.0.0.4", "a", "terminating"),
        endpoint("10.0.1.1", "b", "ready"),
    ]);
    // Another port of the first pod.
    let second = slice("web", "web-2", 8081, vec![endpoint("10.0.0.1", "a", "ready")]);
    let other = slice("other", "other-1", 8080, vec![endpoint("10.0.0.9", "a", "ready")]);
    world.serve([web, first, second, other]);
    assert_eq!(world.counts(V4, 2).await, 200);
    world.serve(world.web(vec![endpoint("10.0.0.4", "a", "terminating")]));
    assert_eq!(world.counts(V4, 0).await, 503);
    world.stop().await;
}

// S107
#[tokio::test]
async fn the_port_closes_with_the_policy_cluster_and_opens_again_with_local() {
    let world = World::start();
    let ready = || slice("web", "web-1", 8080, vec![endpoint("10.0.0.1", "a", "ready")]);
    for _ in 0..3 {
        world.serve([service("web", world.port, TrafficPolicy::Local), ready()]);
        assert_eq!(world.counts(V4, 1).await, 200);
        world.serve([service("web", world.port, TrafficPolicy::Cluster), ready()]);
        world.closed(V4).await;
    }
    world.stop().await;
}

// S108
#[tokio::test]
async fn it_listens_at_the_nodes_addresses_alone_and_counts_by_family() {
    let world = World::start();
    world.serve(world.web(vec![endpoint("10.0.0.1", "a", "ready"), endpoint("10.0.0.2", "a", "ready")]));
    assert_eq!(world.counts(V4, 2).await, 200);
    assert_eq!(world.counts("::1", 0).await, 503);
    assert!(world.ask("127.0.0.1").await.is_none());
    let v6 = slice("web", "web-2", 8080, vec![endpoint("fd00::1", "a", "ready")]);
    world.serve(world.web(vec![]).into_iter().chain([v6]));
    assert_eq!(world.counts("::1", 1).await, 200);
    assert_eq!(world.counts(V4, 0).await, 503);
    world.stop().await;
}

// S108
#[tokio::test]
async fn it_listens_where_node_ports_are_alone() {
    let world = World::start();
    world.change(|state| {
        state.node.node_port_addresses = NodePortAddresses::In(vec!["127.0.0.8/29".parse().unwrap()]);
        state.node.addresses.insert(0, "127.0.0.1".parse().unwrap());
    });
    world.serve(world.web(vec![endpoint("10.0.0.1", "a", "ready")]));
    assert_eq!(world.counts(V4, 1).await, 200);
    assert!(world.ask("127.0.0.1").await.is_none() && world.ask("::1").await.is_none());
    world.change(|state| state.node.node_port_addresses = NodePortAddresses::Primary);
    assert_eq!(world.counts("127.0.0.1", 1).await, 200);
    assert_eq!(world.counts("::1", 0).await, 503);
    world.closed(V4).await;
    world.stop().await;
}

// S108
#[tokio::test]
async fn it_follows_the_nodes_addresses() {
    let world = World::start();
    world.serve(world.web(vec![endpoint("10.0.0.1", "a", "ready")]));
    assert_eq!(world.counts(V4, 1).await, 200);
    world.change(|state| state.node.addresses = vec!["127.0.0.12".parse().unwrap()]);
    assert_eq!(world.counts("127.0.0.12", 1).await, 200);
    world.closed(V4).await;
    world.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_a_problem_that_passes() {
    let world = World::start();
    let taken = std::net::TcpListener::bind((V4, world.port)).unwrap();
    world.serve(world.web(vec![endpoint("10.0.0.1", "a", "ready")]));
    let mut state = world.state.subscribe();
    let told = state.wait_for(|state| !state.health_check_problems.is_empty()).await.unwrap().clone();
    let problem = &told.health_check_problems[0];
    let socket = format!("{V4}:{}", world.port);
    let start = format!("Service `default/web`: its health check port cannot be opened at {socket}: ");
    assert!(problem.starts_with(&start), "{problem}");
    // The other family's is open meanwhile.
    assert_eq!(world.counts("::1", 0).await, 503);
    drop(taken);
    // Any news is a reason to try again at once.
    world.change(|_| {});
    assert_eq!(world.counts(V4, 1).await, 200);
    state.wait_for(|state| state.health_check_problems.is_empty()).await.unwrap();
    world.stop().await;
}

#[tokio::test]
async fn two_services_cannot_have_one_port() {
    let world = World::start();
    let local = TrafficPolicy::Local;
    world.serve([service("b", world.port, local), service("a", world.port, local)]);
    assert_eq!(world.counts(V4, 0).await, 503);
    assert_eq!(world.ask(V4).await.unwrap().json()["service"]["name"], "a");
    let state = world.state.borrow().clone();
    let port = world.port;
    assert_eq!(
        state.health_check_problems,
        [format!(
            "Service `default/b` has no health check port: `default/a` has {port}; change one of the two"
        )]
    );
    world.stop().await;
}

#[tokio::test]
async fn all_ports_close_when_the_agent_stops() {
    let world = World::start();
    world.serve(world.web(vec![endpoint("10.0.0.1", "a", "ready")]));
    assert_eq!(world.counts(V4, 1).await, 200);
    let socket = SocketAddr::new(V4.parse().unwrap(), world.port);
    world.stop().await;
    assert!(page(socket, "/").await.is_none());
}
