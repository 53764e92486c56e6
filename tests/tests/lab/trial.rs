//! The tables of tests, each run in every world.

use fairway_tests::trial;

use crate::world::World;
use crate::{
    affinity, bandwidth, behaviour, datagrams, health, host_ports, lifecycle, node, outage, packets,
    programs, replicas, settings,
};

/// A row.
pub(crate) type Trial = trial::Trial<World>;

/// All tables, in the order in which they run.
pub(crate) const ROOMS: [&[Trial]; 13] = [
    behaviour::TRIALS,
    settings::TRIALS,
    lifecycle::TRIALS,
    packets::TRIALS,
    datagrams::TRIALS,
    affinity::TRIALS,
    health::TRIALS,
    node::TRIALS,
    host_ports::TRIALS,
    bandwidth::TRIALS,
    programs::TRIALS,
    replicas::TRIALS,
    outage::TRIALS,
];
