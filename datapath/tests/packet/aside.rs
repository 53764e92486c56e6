//! One client port that asks a Service and its backend at the same time.

use fairway_common::TCP;
use fairway_common::conntrack::tcp;

use crate::frame::source_port;
use crate::netns::{ETH0, NODE2};
use crate::table::{FROM_NETWORK, FROM_POD};
use crate::world::{World, each};

/// A client by the Service and directly: the pod, or somebody outside with a route to the pods.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// From a pod to a pod of this node.
    Local,
    /// From a pod to a pod of another node.
    Remote,
    /// From outside to a pod of this node.
    Outside,
}

// S49
#[test]
fn a_client_port_that_asks_a_service_and_its_backend_gets_each_answer_from_whom_it_asked() {
    for (way, direct_first) in
        [Way::Local, Way::Remote, Way::Outside].map(|it| [(it, true), (it, false)]).concat()
    {
        each(|world| {
            let (client, service, hook) = match way {
                Way::Outside => (world.client(40_000), world.node(30080), FROM_NETWORK),
                _ => (world.pod(1, 40_000), world.service(1), FROM_POD),
            };
            let (backend, back_hook, there) = match way {
                Way::Remote => (world.remote(1, 8080), FROM_NETWORK, [ETH0, NODE2]),
                _ => (world.pod(2, 8080), FROM_POD, World::to_pod(2)),
            };
            world.put(service, &[backend], &[backend], 0);

            // Directly nobody touches the ports, before the Service is asked and after.
            let direct = world.frame(client, backend);
            let sent = |world: &mut World| {
                let (verdict, out) = world.run(hook, &direct.build());
                let wanted = if verdict == 7 { direct.clone().hop(there) } else { direct.clone() };
                assert_eq!((verdict != 7, wanted.differs(&out)), (way == Way::Remote, None));
            };
            if direct_first {
                sent(world);
            }
            // By the Service, the backend sees another port of the same client.
            let by_service = world.frame(client, service);
            let (verdict, out) = world.run(hook, &by_service.build());
            assert_eq!(verdict, 7);
            let (mut seen, port) = (client, source_port(&out));
            seen.set_port(port);
            assert_ne!(port, client.port());
            assert_eq!(by_service.between(seen, backend).hop(there).differs(&out), None);
            sent(world);
            assert_eq!(world.tracked().len(), 2);

            let flags = tcp::SYN | tcp::ACK;
            for (to, from) in [(seen, service), (client, backend)] {
                let answer = world.frame(backend, to);
                let answer = if world.protocol == TCP { answer.flags(flags) } else { answer };
                let (verdict, out) = world.run(back_hook, &answer.build());
                assert!(to == client || verdict == 7);
                let wanted = answer.between(from, client);
                let wanted = if verdict == 7 { wanted.hop(mac_of(&out)) } else { wanted };
                assert_eq!(wanted.differs(&out), None);
            }
        });
    }
}

/// The link addresses of a packet, source first: they are not what is asked here.
fn mac_of(packet: &[u8]) -> [[u8; 6]; 2] {
    let at = |from: usize| packet.get(from..from + 6).and_then(|it| it.try_into().ok()).unwrap();
    [at(6), at(0)]
}

// S44: the first packets of one connection show the same port, whatever becomes of what was recorded.
#[test]
fn a_connection_that_was_forgotten_shows_the_port_that_it_had() {
    each(|world| {
        let (client, service, backend) = (world.pod(1, 40_000), world.service(1), world.pod(2, 8080));
        world.put(service, &[backend], &[backend], 0);
        let frame = world.frame(client, service);
        let (_, first) = world.run(FROM_POD, &frame.build());
        world.forget();
        let (_, again) = world.run(FROM_POD, &frame.build());
        assert_eq!(source_port(&first), source_port(&again));
    });
}

#[test]
fn a_port_below_1024_stays_what_it_is() {
    each(|world| {
        let (client, service, backend) = (world.pod(1, 1023), world.service(1), world.pod(2, 8080));
        world.put(service, &[backend], &[backend], 0);
        let (_, out) = world.run(FROM_POD, &world.frame(client, service).build());
        assert_eq!(source_port(&out), 1023);
    });
}

// S50
#[test]
fn where_the_port_that_stands_for_a_clients_is_taken_the_client_keeps_its_own() {
    each(|world| {
        let (client, backend) = (world.client(40_000), world.pod(2, 8080));
        let shown = [30080, 30081].map(|node_port| {
            let node_port = world.node(node_port);
            world.put(node_port, &[backend], &[backend], 0);
            source_port(&world.run(FROM_NETWORK, &world.frame(client, node_port).build()).1)
        });
        assert!(shown[0] >= 61_000, "{shown:?}");
        assert_eq!(shown[1], 40_000);
    });
}
