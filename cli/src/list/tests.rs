use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use fairway_common::Reason;
use fairway_datapath::table::{self, FrontendKey, Image, Run, backend_flags};

use super::*;
use crate::args::{Cli, Format};
use crate::output::{Output, Row};

fn output(format: Format) -> Output {
    use clap::Parser;
    let mut cli = Cli::parse_from(["fairway", "version"]);
    cli.global.output = format;
    Output::new(&cli.global)
}

fn rendered<R: Row>(mut rows: Vec<R>, format: Format) -> String {
    rows.sort_by(R::compare);
    anstream::adapter::strip_str(&output(format).list(&rows).unwrap()).to_string()
}

/// A frontend of each family; a backend that stands in two slots; a slot whose backend is not there.
fn image() -> Image {
    let backend = |address: &str, flags| table::Backend {
        address: address.parse().unwrap(),
        port: 8080,
        flags,
        service: 12,
    };
    let key =
        |address: &str, protocol, port| FrontendKey { address: address.parse().unwrap(), protocol, port };
    let frontend = |inside, outside, flags| table::Frontend {
        inside,
        outside,
        service: 12,
        flags,
        ..table::Frontend::default()
    };
    let drops = table::Frontend::OUTSIDE_DROPS | table::Frontend::KEEP_CLIENT;
    Image {
        frontends: BTreeMap::from([
            (
                key("fd00::10", 17, 53),
                frontend(Run { first: 8, count: 1 }, Run::default(), table::Frontend::INSIDE_DROPS),
            ),
            (
                key("10.96.0.10", 6, 80),
                frontend(Run { first: 0, count: 4 }, Run { first: 4, count: 1 }, drops),
            ),
        ]),
        ranges: std::collections::BTreeSet::new(),
        slots: BTreeMap::from([(0, 1), (1, 2), (2, 1), (3, 9), (4, 1), (8, 3)]),
        backends: BTreeMap::from([
            (1, backend("10.0.2.9", backend_flags::LOCAL)),
            (2, backend("10.0.2.10", 0)),
            (3, backend("fd00:2::9", 0)),
        ]),
    }
}

fn frontends() -> Vec<Frontend> {
    let image = image();
    image.frontends.iter().map(|(key, value)| Frontend::from_image(key, value, &image)).collect()
}

#[test]
fn service_addresses_from_the_maps_have_no_names_but_all_numbers() {
    insta::assert_snapshot!("kernel_services", rendered(frontends(), Format::Wide));
    insta::assert_snapshot!("kernel_services_json", rendered(frontends(), Format::Json));
}

#[test]
fn backends_from_the_maps_stand_below_their_frontend_once() {
    let mut rows = frontends();
    rows.sort_by(Frontend::compare);
    let text = with_backends(&output(Format::Table), &rows);
    insta::assert_snapshot!("kernel_services_backends", anstream::adapter::strip_str(&text).to_string());
}

#[test]
fn backends_from_the_maps_are_sorted_by_address_as_a_number() {
    insta::assert_snapshot!("kernel_backends", rendered(Backend::from_image(&image()), Format::Wide));
}

#[test]
fn connections_from_the_maps_show_a_source_only_where_it_was_translated() {
    let end = |address: &str, port| (address.parse::<IpAddr>().unwrap(), port);
    let connection = |nat_source| fairway_datapath::Connection {
        protocol: 6,
        source: end("10.0.1.5", 41822),
        frontend: end("10.96.0.10", 80),
        backend: end("10.0.2.9", 8080),
        nat_source,
        state: "established",
        idle: Duration::from_millis(1_900),
        expires: Duration::from_secs(21_598),
        service: 12,
    };
    let rows = vec![connection(end("10.0.1.5", 41822)), connection(end("192.168.0.1", 1024))];
    let rows: Vec<Connection> = rows.into_iter().map(Connection::from).collect();
    insta::assert_snapshot!("kernel_connections", rendered(rows, Format::Wide));
}

#[test]
fn pods_from_the_maps_have_addresses_and_devices() {
    let pod = |last| fairway_datapath::Pod {
        address: [10, 0, 1, last].into(),
        ifindex: last.into(),
        pod_mac: [2, 0, 0, 0, 1, last],
        node_mac: [2, 0, 0, 0, 2, last],
        shaped: false,
    };
    let rows = [10, 9].map(pod).into_iter().map(Endpoint::from).collect();
    insta::assert_snapshot!("kernel_endpoints", rendered::<Endpoint>(rows, Format::Wide));
}

#[test]
fn counts_from_the_maps_are_the_same_rows_as_the_agents() {
    let count = fairway_common::reason::Count { packets: 2, bytes: 120 };
    let from_agent = fairway_proto::node::ReasonCount {
        number: 8,
        name: "no-backend".into(),
        class: "reject".into(),
        packets: 2,
        bytes: 120,
        text: Reason::NoBackend.text().into(),
        hint: Reason::NoBackend.hint().into(),
    };
    assert_eq!(Count::new(Reason::NoBackend, count), Count::from(from_agent));
}
