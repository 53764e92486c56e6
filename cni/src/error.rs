//! What the runtime is told when a call fails.

use std::error::Error as _;
use std::path::PathBuf;

use serde_json::{Value, json};

/// CNI's "try again later".
pub(crate) const AGAIN: u32 = 11;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("network configuration has cniVersion `{found}`, {needs} needs one of {}", .supported.join(", "))]
    Version { found: String, needs: &'static str, supported: Vec<&'static str> },
    #[error("environment variables missing: {}", .0.join(", "))]
    MissingVariables(Vec<&'static str>),
    #[error("environment variable {name} is `{value}`: it must be {rule}")]
    Variable { name: &'static str, value: String, rule: &'static str },
    #[error("the network configuration could not be read from standard input")]
    Read(#[source] std::io::Error),
    #[error("the network configuration is not what it should be")]
    Decode(#[source] serde_json::Error),
    #[error("`{key}` in the network configuration must be {rule}")]
    Config { key: &'static str, rule: &'static str },
    #[error("`{key}` in the network configuration is `{value}`: it must be {rule}")]
    Value { key: &'static str, value: String, rule: &'static str },
    #[error("`{key}` in the network configuration is `{value}`, which is not supported: {hint}")]
    Unsupported { key: &'static str, value: String, hint: &'static str },
    #[error("no runtime for the call could be started")]
    Start(#[source] std::io::Error),
    #[error("the agent does not answer on `{}`: see that fairway-agent runs on this node", .socket.display())]
    Unreachable {
        socket: PathBuf,
        #[source]
        source: tonic::transport::Error,
    },
    #[error("the agent on `{}` did not answer within {seconds} s: see that fairway-agent runs on this node", .socket.display())]
    Silent { socket: PathBuf, seconds: u64 },
    #[error("no agent answers, and the deletion could not be left for it in `{}`", .deletions.display())]
    Queue {
        deletions: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("no pod can be added now")]
    NotReady(#[source] Box<Self>),
    #[error("{message}")]
    Agent { code: u32, message: String },
    #[error("the agent answered with address `{0}`, which is none")]
    Answer(String),
}

impl Error {
    /// CNI's error codes; from 100 on the agent's own.
    pub(crate) fn code(&self) -> u32 {
        match self {
            Self::Version { .. } => 1,
            Self::MissingVariables(_) | Self::Variable { .. } => 4,
            Self::Read(_) | Self::Start(_) => 5,
            Self::Decode(_) | Self::Answer(_) => 6,
            Self::Unsupported { .. } => 2,
            Self::Config { .. } | Self::Value { .. } => 7,
            Self::Unreachable { .. } | Self::Silent { .. } | Self::Queue { .. } => AGAIN,
            Self::NotReady(_) => 50,
            Self::Agent { code, .. } => *code,
        }
    }

    /// The error in the form that CNI asks for; the causes are the details.
    pub(crate) fn to_json(&self, version: &str) -> Value {
        let mut causes = Vec::new();
        let mut cause = self.source();
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        json!({
            "cniVersion": version,
            "code": self.code(),
            "msg": self.to_string(),
            "details": causes.join(": "),
        })
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        // The key is named in fairway_agent::pods::CNI_CODE.
        let told = status.metadata().get("cni-code").and_then(|code| code.to_str().ok()?.parse().ok());
        let code = told.unwrap_or(match status.code() {
            tonic::Code::Unavailable | tonic::Code::Cancelled | tonic::Code::DeadlineExceeded => AGAIN,
            _ => 5,
        });
        Self::Agent { code, message: status.message().to_owned() }
    }
}
