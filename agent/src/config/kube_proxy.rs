//! kube-proxy's own configuration, KubeProxyConfiguration of kubeproxy.config.k8s.io/v1alpha1, as a settings file: what it
//! says that Fairway has a setting for, and a line about everything else that is not as by default.

mod fields;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use fairway_control::document::{self, Tree};
use serde_json::Value as Json;

use super::layers::{Origin, Value, Values};
use super::{Error, SETTINGS};
use fields::{FIELDS, Field, Form, Meaning};

/// The only version that there is.
const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
const KIND: &str = "KubeProxyConfiguration";

/// Something that kube-proxy was told and that does not hold here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where it stands.
    pub origin: Origin,
    /// The path of the key, such as `iptables.masqueradeBit`.
    pub key: &'static str,
    /// Its value, as YAML or JSON.
    pub value: String,
    /// Why it does not hold, and what does.
    pub why: &'static str,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: `{}` {}", self.origin, self.key, self.value, self.why)
    }
}

/// What a document says.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Values of Fairway's settings.
    pub(super) values: Values,
    /// Values that count only where the agent reads the Kubernetes API itself; the note is for where it does not.
    pub(super) of_the_api: Vec<(&'static str, Value, Note)>,
    /// What does not hold.
    pub(super) notes: Vec<Note>,
}

/// Whether a text is a Kubernetes object in YAML or JSON, and so no TOML.
pub(super) fn is_object(text: &str) -> bool {
    text.lines()
        .map(str::trim_start)
        .any(|line| ["apiVersion:", "\"apiVersion\":", "{\""].iter().any(|head| line.starts_with(head)))
}

/// Reads a document.
///
/// # Errors
///
/// No YAML, another kind of object, a key that there is not, or a value that does not fit, with its place.
pub(super) fn read(path: &Path, text: &str) -> Result<Read, Error> {
    let syntax = |message: &str, line: u64| Error::Syntax {
        path: path.to_owned(),
        line: usize::try_from(line).unwrap_or_default().max(1),
        message: message.to_owned(),
    };
    let mut trees = document::parse(text)
        .map_err(|error| syntax(&error.message, error.at.map_or(1, |(line, _)| line)))?
        .into_iter();
    let tree = trees.next().ok_or_else(|| syntax("the file is empty", 1))?;
    if let Some(second) = trees.next() {
        return Err(syntax("a second document: only one is read", second.locate("").0));
    }
    let json = tree.to_json();
    let word = |key: &str| json.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    if word("apiVersion") != API_VERSION || word("kind") != KIND {
        return Err(Error::NotKubeProxy {
            path: path.to_owned(),
            kind: word("kind"),
            api_version: word("apiVersion"),
        });
    }
    let mode = word("mode");
    let mut reader = Reader { path, tree: &tree, mode: &mode, read: Read::default() };
    reader.map("", &json)?;
    reader.defaults(&word("bindAddress"));
    Ok(reader.read)
}

struct Reader<'a> {
    path: &'a Path,
    tree: &'a Tree,
    mode: &'a str,
    read: Read,
}

impl Reader<'_> {
    fn line(&self, path: &str) -> usize {
        usize::try_from(self.tree.locate(path).0).unwrap_or_default()
    }

    fn origin(&self, path: &str) -> Origin {
        Origin::File { path: self.path.to_owned(), line: self.line(path) }
    }

    /// A map of the document; `prefix` is empty or ends with a dot.
    fn map(&mut self, prefix: &str, json: &Json) -> Result<(), Error> {
        for (key, value) in json.as_object().into_iter().flatten() {
            if prefix.is_empty() && ["apiVersion", "kind"].contains(&key.as_str()) {
                continue;
            }
            let path = format!("{prefix}{key}");
            let below = format!("{path}.");
            let parent = FIELDS.iter().find(|field| field.path.starts_with(&below));
            match (FIELDS.iter().find(|field| field.path == path), parent) {
                (Some(field), _) => self.field(field, value)?,
                (None, Some(_)) if value.is_null() || value.is_object() => self.map(&below, value)?,
                (None, Some(field)) => {
                    return Err(self.wrong(
                        &path,
                        field.path.split('.').next().unwrap_or_default(),
                        value,
                        "a map",
                    ));
                }
                (None, None) => {
                    let (path, line) = (self.path.to_owned(), self.line(&path));
                    let key = format!("{prefix}{key}");
                    return Err(Error::UnknownKey { path, line, nearest: nearest(&key), key });
                }
            }
        }
        Ok(())
    }

    fn wrong(&self, at: &str, key: &'static str, value: &Json, expected: &'static str) -> Error {
        Error::Invalid { origin: self.origin(at), key, value: plain(value), expected }
    }

    fn field(&mut self, field: &'static Field, json: &Json) -> Result<(), Error> {
        let Some(texts) =
            texts(field.form, json).map_err(|expected| self.wrong(field.path, field.path, json, expected))?
        else {
            return Ok(());
        };
        let origin = self.origin(field.path);
        let note = |why| Note { origin: origin.clone(), key: field.path, value: plain(json), why };
        let value = Value { texts: texts.clone(), origin: origin.clone() };
        match field.meaning {
            // kube-proxy leaves alone what is 0.
            Meaning::Setting(_) if field.form == Form::Time && is_zero(&texts) => {}
            Meaning::Setting(key) => self.set(key, value),
            Meaning::Address(key, port) => {
                let texts = texts.iter().map(|text| with_port(text, port)).collect();
                self.set(key, Value { texts, origin });
            }
            Meaning::InModes(modes, key) if modes.contains(&self.mode) => self.set(key, value),
            Meaning::InModes(..) if texts == ["true"] => {
                let note = note("is not used: it counts in another mode than that of this file");
                self.read.notes.push(note);
            }
            Meaning::InModes(..) | Meaning::Silent => {}
            Meaning::OfTheApi(key, why) => {
                let note = note(why);
                self.read.of_the_api.push((key, value, note));
            }
            Meaning::OneOf(allowed, expected, _)
                if texts.iter().any(|text| !allowed.contains(&text.as_str())) =>
            {
                return Err(self.wrong(field.path, field.path, json, expected));
            }
            Meaning::OneOf(_, _, why) => {
                let note = note(why);
                self.read.notes.push(note);
            }
            Meaning::Nothing(quiet, why) => {
                if texts.iter().any(|text| !quiet.contains(&text.as_str())) {
                    let note = note(why);
                    self.read.notes.push(note);
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &'static str, value: Value) {
        self.read.values.insert(key, value);
    }

    /// The addresses that kube-proxy has where nothing is said.
    fn defaults(&mut self, bind_address: &str) {
        let v6 = bind_address.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6());
        let (health, metrics) =
            if v6 { ("[::]:10256", "[::1]:10249") } else { ("0.0.0.0:10256", "127.0.0.1:10249") };
        let origin = Origin::KubeProxyDefault { path: self.path.to_owned() };
        for (key, text) in [("health-address", health), ("metrics-address", metrics)] {
            let value = Value { texts: vec![text.to_owned()], origin: origin.clone() };
            self.read.values.entry(key).or_insert(value);
        }
    }
}

/// Lays the values that need the API over the others; the notes of what does not hold.
pub(super) fn settle(values: &mut Values, read: Read) -> Vec<Note> {
    let mut notes = read.notes;
    let direct = values.get("kubernetes").is_some_and(|value| value.texts == ["true"]);
    for (key, value, note) in read.of_the_api {
        let Some(setting) = SETTINGS.iter().find(|setting| direct && setting.key == key) else {
            notes.push(note);
            continue;
        };
        let present = values.get(key).map(|value| &value.origin);
        if matches!(present, None | Some(Origin::Default)) {
            values.insert(setting.key, value);
        }
    }
    notes.sort_by_key(|note| match &note.origin {
        Origin::File { line, .. } => *line,
        _ => 0,
    });
    notes
}

/// The texts of a value, or what it should be; none: it says nothing.
fn texts(form: Form, json: &Json) -> Result<Option<Vec<String>>, &'static str> {
    let text = |json: &Json| json.as_str().map(str::to_owned);
    let texts = match (form, json) {
        (_, Json::Null) => return Ok(None),
        (Form::Text | Form::Time, Json::String(text)) if text.is_empty() => return Ok(None),
        (Form::Any, Json::Array(list)) if list.is_empty() => return Ok(None),
        (Form::Any, Json::Object(map)) if map.is_empty() => return Ok(None),
        (Form::Text, Json::String(text)) => Some(vec![text.clone()]),
        (Form::Time, Json::String(text)) if humantime::parse_duration(text).is_ok() => {
            Some(vec![text.clone()])
        }
        (Form::Switch, Json::Bool(on)) => Some(vec![on.to_string()]),
        (Form::Number, Json::Number(number)) => Some(vec![number.to_string()]),
        (Form::Texts, Json::Array(list)) if list.is_empty() => return Ok(None),
        (Form::Texts, Json::Array(list)) => list.iter().map(text).collect(),
        (Form::Any, json) => Some(vec![plain(json)]),
        _ => None,
    };
    texts.map(Some).ok_or(match form {
        Form::Text => "a text",
        Form::Time => "a time, for example 30s or 1h0m0s",
        Form::Switch => "true or false",
        Form::Number => "a number",
        Form::Texts => "a list of texts",
        Form::Any => "a value",
    })
}

fn is_zero(texts: &[String]) -> bool {
    texts.iter().all(|text| humantime::parse_duration(text).is_ok_and(|time| time.is_zero()))
}

/// kube-proxy takes an address alone, and adds the port.
fn with_port(text: &str, port: u16) -> String {
    text.parse()
        .map_or_else(|_| text.to_owned(), |address: IpAddr| SocketAddr::new(address, port).to_string())
}

/// A value on one line.
fn plain(json: &Json) -> String {
    json.as_str().map_or_else(|| json.to_string(), str::to_owned)
}

fn nearest(path: &str) -> &'static str {
    let distance = |field: &&Field| strsim::damerau_levenshtein(field.path, path);
    FIELDS.iter().min_by_key(distance).map_or("", |field| field.path)
}
