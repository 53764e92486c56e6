//! How long a silent connection is kept.

use std::time::Duration;

use fairway_common::TCP;
use fairway_common::conntrack::State;

/// How long a connection is kept after its last packet, by state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP: both sides have spoken.
    pub tcp_established: Duration,
    /// TCP: the server has not answered yet.
    pub tcp_syn_sent: Duration,
    /// TCP: one side has closed.
    pub tcp_fin_wait: Duration,
    /// TCP: both sides have closed.
    pub tcp_closing: Duration,
    /// UDP: the server has not answered.
    pub udp: Duration,
    /// UDP: both sides have spoken.
    pub udp_stream: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let of = |state: State, protocol| Duration::from_secs(state.timeout(protocol).into());
        Self {
            tcp_established: of(State::Established, TCP),
            tcp_syn_sent: of(State::SynSent, TCP),
            tcp_fin_wait: of(State::FinWait, TCP),
            tcp_closing: of(State::Closing, TCP),
            udp: of(State::Unreplied, fairway_common::UDP),
            udp_stream: of(State::Established, fairway_common::UDP),
        }
    }
}

impl Timeouts {
    /// That of one state.
    pub(super) fn of(&self, state: State, protocol: u8) -> Duration {
        match (state, protocol) {
            (State::Established, TCP) => self.tcp_established,
            (State::Established, _) => self.udp_stream,
            (State::SynSent, _) => self.tcp_syn_sent,
            (State::FinWait, _) => self.tcp_fin_wait,
            (State::Closing, _) => self.tcp_closing,
            (State::Unreplied, _) => self.udp,
            // Fixed: a reset may be spurious, and the connection go on (S46).
            (State::Reset, _) => Duration::from_secs(State::Reset.timeout(protocol).into()),
        }
    }

    /// That of one state while the table is nearly full: what has not begun or is over makes room.
    pub(super) fn pressed(&self, state: State, protocol: u8) -> Duration {
        let time = self.of(state, protocol);
        match state {
            State::SynSent | State::Unreplied | State::FinWait | State::Closing => time / 4,
            State::Established | State::Reset => time,
        }
    }
}
