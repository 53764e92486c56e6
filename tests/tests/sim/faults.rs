//! What goes wrong in the network between two hosts.

use std::time::Duration;

use rand::Rng;
use turmoil::Sim;

/// The state of the way between two hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Whole,
    /// What is sent is lost; connections do not recover from it.
    Cut,
    /// What is sent is kept.
    Held,
}

/// The way between an agent and a control plane.
#[derive(Debug)]
pub(crate) struct Link {
    agent: String,
    control: String,
    state: State,
}

impl Link {
    pub(crate) fn new(agent: &str, control: &str) -> Self {
        Self { agent: agent.into(), control: control.into(), state: State::Whole }
    }

    /// Breaks it, or repairs what is broken; says which.
    pub(crate) fn change(&mut self, sim: &mut Sim<'_>, random: &mut impl Rng) -> String {
        let (agent, control) = (self.agent.clone(), self.control.clone());
        let (agent, control) = (agent.as_str(), control.as_str());
        let what = match (self.state, random.random_range(0..6)) {
            (State::Whole, 0) => {
                sim.partition(agent, control);
                self.state = State::Cut;
                "cut"
            }
            (State::Whole, 1) => {
                sim.partition_oneway(agent, control);
                self.state = State::Cut;
                "cut on the way to the control plane"
            }
            (State::Whole, 2) => {
                sim.partition_oneway(control, agent);
                self.state = State::Cut;
                "cut on the way to the agent"
            }
            (State::Whole, 3) => {
                sim.hold(agent, control);
                self.state = State::Held;
                "held"
            }
            (State::Whole, _) => {
                let latency = Duration::from_millis(random.random_range(0..900));
                sim.set_link_latency(agent, control, latency);
                return format!("{agent} and {control}: {} ms apart", latency.as_millis());
            }
            _ => {
                self.repair(sim);
                "whole"
            }
        };
        format!("{agent} and {control}: {what}")
    }

    /// Makes it whole.
    pub(crate) fn repair(&mut self, sim: &mut Sim<'_>) {
        let (agent, control) = (self.agent.as_str(), self.control.as_str());
        match std::mem::take(&mut self.state) {
            State::Whole => {}
            State::Cut => sim.repair(agent, control),
            State::Held => sim.release(agent, control),
        }
    }

    /// Makes it whole and quick.
    pub(crate) fn heal(&mut self, sim: &mut Sim<'_>) {
        self.repair(sim);
        sim.set_link_latency(self.agent.as_str(), self.control.as_str(), Duration::from_millis(5));
    }
}
