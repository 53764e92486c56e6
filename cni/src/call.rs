//! The call, from the environment.

use crate::error::Error;
use crate::version::Version;

/// What the runtime wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

/// The call's parameters; those that the command does not need may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) command: Command,
    pub(crate) container_id: String,
    pub(crate) netns: String,
    pub(crate) interface: String,
    /// K8S_POD_NAMESPACE and K8S_POD_NAME of CNI_ARGS.
    pub(crate) pod_namespace: String,
    pub(crate) pod_name: String,
}

impl Command {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "ADD" => Self::Add,
            "DEL" => Self::Del,
            "CHECK" => Self::Check,
            "GC" => Self::Gc,
            "STATUS" => Self::Status,
            "VERSION" => Self::Version,
            _ => return None,
        })
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    /// The first version of CNI that has it, as far as it is spoken here.
    pub(crate) fn since(self) -> Version {
        match self {
            Self::Add | Self::Del | Self::Version => Version::V0_3_0,
            Self::Check => Version::V0_4_0,
            Self::Gc | Self::Status => Version::V1_1_0,
        }
    }

    /// Variables that must be set, besides CNI_COMMAND.
    fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Add | Self::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
            Self::Del => &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
            Self::Gc | Self::Status => &["CNI_PATH"],
            Self::Version => &[],
        }
    }
}

impl Call {
    /// Reads the call; `variable` looks up an environment variable. An empty variable counts as missing.
    pub(crate) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let value = |name| variable(name).unwrap_or_default();
        let text = value("CNI_COMMAND");
        if text.is_empty() {
            return Err(Error::MissingVariables(vec!["CNI_COMMAND"]));
        }
        let Some(command) = Command::parse(&text) else {
            let rule = "ADD, DEL, CHECK, GC, STATUS or VERSION";
            return Err(Error::Variable { name: "CNI_COMMAND", value: text, rule });
        };
        let missing: Vec<_> = command.needs().iter().copied().filter(|name| value(name).is_empty()).collect();
        if !missing.is_empty() {
            return Err(Error::MissingVariables(missing));
        }
        let (pod_namespace, pod_name) = pod(&value("CNI_ARGS"))?;
        let call = Self {
            command,
            container_id: value("CNI_CONTAINERID"),
            netns: value("CNI_NETNS"),
            interface: value("CNI_IFNAME"),
            pod_namespace,
            pod_name,
        };
        call.validated()
    }

    fn validated(self) -> Result<Self, Error> {
        if self.command.needs().contains(&"CNI_CONTAINERID") && !is_identifier(&self.container_id) {
            let rule = "a letter or digit, followed by letters, digits, `_`, `.` or `-`";
            return Err(Error::Variable { name: "CNI_CONTAINERID", value: self.container_id, rule });
        }
        if self.command.needs().contains(&"CNI_IFNAME") && !is_interface(&self.interface) {
            let rule = "a device name: at most 15 bytes, no `/`, `:` or space, not `.` or `..`";
            return Err(Error::Variable { name: "CNI_IFNAME", value: self.interface, rule });
        }
        Ok(self)
    }
}

/// Letters, digits, `_`, `.` and `-`, the first one a letter or digit.
pub(crate) fn is_identifier(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(|it| it.is_ascii_alphanumeric() || "_.-".contains(it))
}

fn is_interface(text: &str) -> bool {
    let forbidden = |it: char| it == '/' || it == ':' || it.is_whitespace() || it.is_control();
    (1..16).contains(&text.len()) && text != "." && text != ".." && !text.contains(forbidden)
}

fn pod(arguments: &str) -> Result<(String, String), Error> {
    let (mut namespace, mut name) = (String::new(), String::new());
    for pair in arguments.split(';').filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            let rule = "pairs `KEY=VALUE` with `;` between them";
            return Err(Error::Variable { name: "CNI_ARGS", value: arguments.to_owned(), rule });
        };
        match key {
            "K8S_POD_NAMESPACE" => namespace = value.to_owned(),
            "K8S_POD_NAME" => name = value.to_owned(),
            _ => {}
        }
    }
    Ok((namespace, name))
}

#[cfg(test)]
mod tests;
