//! The network configuration, from standard input.

use std::path::PathBuf;

use fairway_proto::deletions::{DIRECTORY, Deletions};
use serde::Deserialize;
use serde_json::Value;

use crate::call::{Command, is_identifier};
use crate::capabilities::Capabilities;
use crate::error::Error;
use crate::version::Version;

/// Where the agent listens if the configuration does not say.
const SOCKET: &str = "/run/fairway/agent.sock";

/// The keys that are used here; others belong to the runtime or to other plugins.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    #[serde(rename = "cniVersion")]
    version: String,
    name: String,
    socket: Option<PathBuf>,
    deletions: Option<PathBuf>,
    pub(crate) dns: Option<Value>,
    /// The result of the ADD, or of the plugin before this one, in whatever form.
    #[serde(rename = "prevResult")]
    result: Option<Value>,
    /// What a CHECK reads of it; nothing with other commands, which get on with any.
    #[serde(skip)]
    pub(crate) previous: Previous,
    #[serde(rename = "cni.dev/valid-attachments")]
    valid_attachments: Option<Vec<Attachment>>,
    /// What libcni calls it too.
    #[serde(rename = "cni.dev/attachments")]
    attachments: Option<Vec<Attachment>>,
    /// What an ADD asks for; nothing with other commands.
    #[serde(skip)]
    pub(crate) capabilities: Capabilities,
}

/// One device of one container that still exists.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Attachment {
    #[serde(rename = "containerID")]
    pub(crate) container_id: String,
    #[serde(rename = "ifname")]
    pub(crate) interface: String,
}

/// The result of the ADD, as the runtime kept it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Previous {
    interfaces: Vec<PreviousInterface>,
    ips: Vec<PreviousIp>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PreviousInterface {
    name: String,
    sandbox: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PreviousIp {
    address: String,
    /// -1 and its like mean none.
    interface: Option<i64>,
}

impl Previous {
    /// The addresses (CIDRs in text form) of a device inside the container.
    pub(crate) fn addresses_of(&self, interface: &str) -> Vec<String> {
        let is_of = |ip: &&PreviousIp| {
            let named = ip.interface.and_then(|index| self.interfaces.get(usize::try_from(index).ok()?));
            named.is_some_and(|it| it.name == interface && !it.sandbox.is_empty())
        };
        self.ips.iter().filter(is_of).map(|ip| ip.address.clone()).collect()
    }
}

impl Config {
    /// Reads and checks the configuration for a command other than VERSION.
    pub(crate) fn read(input: &[u8], command: Command) -> Result<(Self, Version), Error> {
        let mut config: Self = serde_json::from_slice(input).map_err(Error::Decode)?;
        let supported: Vec<Version> =
            Version::ALL.into_iter().filter(|version| *version >= command.since()).collect();
        let version = Version::parse(&config.version).filter(|version| supported.contains(version));
        let Some(version) = version else {
            let supported = supported.into_iter().map(Version::text).collect();
            return Err(Error::Version { found: config.version, needs: command.text(), supported });
        };
        config.check(command)?;
        match command {
            Command::Add => config.capabilities = Capabilities::read(input)?,
            Command::Check => {
                let result = config.result.take().unwrap_or_default();
                config.previous = serde_json::from_value(result).map_err(Error::Decode)?;
            }
            _ => {}
        }
        Ok((config, version))
    }

    fn check(&self, command: Command) -> Result<(), Error> {
        let config = |key, rule| Err(Error::Config { key, rule });
        if !is_identifier(&self.name) {
            return config("name", "a letter or digit, followed by letters, digits, `_`, `.` or `-`");
        }
        for (key, path) in [("socket", &self.socket), ("deletions", &self.deletions)] {
            if path.as_ref().is_some_and(|path| !path.is_absolute()) {
                return config(key, "an absolute path");
            }
        }
        match command {
            Command::Add if self.result.is_some() => {
                config("prevResult", "absent: fairway-cni has to be the first plugin of the list")
            }
            Command::Check if self.result.is_none() => config("prevResult", "the result of the ADD"),
            Command::Gc if self.valid().is_none() => {
                config("cni.dev/valid-attachments", "the list of attachments to keep")
            }
            _ => Ok(()),
        }
    }

    /// The agent's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| SOCKET.into())
    }

    /// Where a deletion is left while no agent answers.
    pub(crate) fn deletions(&self) -> Deletions {
        Deletions::new(self.deletions.clone().unwrap_or_else(|| DIRECTORY.into()))
    }

    /// The attachments that GC keeps.
    pub(crate) fn valid(&self) -> Option<&[Attachment]> {
        self.valid_attachments.as_deref().or(self.attachments.as_deref())
    }
}

/// The version to answer in: the one that the input names, whatever else is wrong with it.
pub(crate) fn version_of(input: &[u8]) -> String {
    let value: Value = serde_json::from_slice(input).unwrap_or_default();
    let named = value.get("cniVersion").and_then(Value::as_str).filter(|version| !version.is_empty());
    named.unwrap_or(Version::NEWEST.text()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, command: Command) -> Result<(Config, Version), Error> {
        Config::read(text.as_bytes(), command)
    }

    #[test]
    fn each_command_is_refused_below_the_version_that_has_it() {
        // S113
        let code = |version: &str, command| {
            let text = format!(
                r#"{{"cniVersion":"{version}","name":"net","cni.dev/attachments":[],"prevResult":null}}"#
            );
            read(&text, command).map_or_else(|error| error.code(), |_| 0)
        };
        for version in Version::ALL.map(Version::text) {
            assert_eq!(code(version, Command::Add), 0, "{version}");
            assert_eq!(code(version, Command::Check), if version < "0.4.0" { 1 } else { 7 }, "{version}");
            assert_eq!(code(version, Command::Gc), if version < "1.1.0" { 1 } else { 0 }, "{version}");
            assert_eq!(code(version, Command::Status), if version < "1.1.0" { 1 } else { 0 }, "{version}");
        }
        for version in ["", "0.1.0", "0.2.0", "2.0.0", "1.0"] {
            assert_eq!(code(version, Command::Add), 1, "{version}");
        }
    }

    #[test]
    fn keys_of_others_are_ignored_and_wrong_ones_are_named() {
        let text = r#"{"cniVersion":"1.0.0","name":"net","type":"fairway-cni","mtu":1,"runtimeConfig":{}}"#;
        let (config, _) = read(text, Command::Add).unwrap();
        assert_eq!(config.socket(), PathBuf::from(SOCKET));
        for (text, code, word) in [
            ("", 6, "configuration"),
            (r#"{"cniVersion":1}"#, 6, "configuration"),
            (r#"{"cniVersion":"1.0.0"}"#, 7, "`name`"),
            (r#"{"cniVersion":"1.0.0","name":"a b"}"#, 7, "`name`"),
            (r#"{"cniVersion":"1.0.0","name":"net","socket":"agent.sock"}"#, 7, "`socket`"),
            (r#"{"cniVersion":"1.0.0","name":"net","prevResult":{}}"#, 7, "`prevResult`"),
        ] {
            let error = read(text, Command::Add).unwrap_err();
            assert!(error.code() == code && error.to_string().contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn a_collection_without_a_list_is_refused_and_both_spellings_are_read() {
        // S121
        let text = |list: &str| format!(r#"{{"cniVersion":"1.1.0","name":"net"{list}}}"#);
        assert_eq!(read(&text(""), Command::Gc).unwrap_err().code(), 7);
        for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
            let list = format!(r#","{key}":[{{"containerID":"a","ifname":"eth0"}}]"#);
            let (config, _) = read(&text(&list), Command::Gc).unwrap();
            assert_eq!(config.valid().unwrap()[0].container_id, "a", "{key}");
        }
    }

    #[test]
    fn only_addresses_of_the_containers_device_are_compared() {
        let text = r#"{"interfaces":[{"name":"fw1"},{"name":"eth0","sandbox":"/x"}],
            "ips":[{"address":"10.0.0.2/32","interface":1},{"address":"1.1.1.1/32","interface":0},{"address":"::1/128"}]}"#;
        let previous: Previous = serde_json::from_str(text).unwrap();
        assert_eq!(previous.addresses_of("eth0"), ["10.0.0.2/32"]);
    }

    #[test]
    fn an_error_answers_in_the_version_of_the_question() {
        assert_eq!(version_of(br#"{"cniVersion":"0.4.0","name":1}"#), "0.4.0");
        assert_eq!(version_of(b"not json"), "1.1.0");
    }
}
