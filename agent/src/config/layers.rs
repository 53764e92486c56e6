//! The layers: flag over environment over file over default.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Error, Note, SETTINGS, Setting, Shape, kube_proxy};

/// Where values come from; tests give their own.
pub struct Sources<'a> {
    /// Values of the flags that were given.
    pub flags: BTreeMap<&'static str, Vec<String>>,
    /// The environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The settings file and its text: TOML, or a KubeProxyConfiguration.
    pub file: Option<(PathBuf, String)>,
    /// A KubeProxyConfiguration and its text; the settings file counts more.
    pub kube_proxy: Option<(PathBuf, String)>,
    /// The host's name.
    pub hostname: String,
}

/// Where a value was set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere.
    #[default]
    Default,
    /// In the file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// Nowhere: kube-proxy has this default, and the file is its configuration.
    KubeProxyDefault {
        /// The file.
        path: PathBuf,
    },
    /// In this environment variable.
    Env(String),
    /// By this flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::KubeProxyDefault { path } => write!(f, "kube-proxy's default, {}", path.display()),
            Origin::Env(name) => write!(f, "env {name}"),
            Origin::Flag(key) => write!(f, "flag --{key}"),
        }
    }
}

/// A setting's value as text; no text: none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    /// The value; more than one only for [`Shape::Many`].
    pub texts: Vec<String>,
    /// Where it was set.
    pub origin: Origin,
}

pub(super) type Values = BTreeMap<&'static str, Value>;

/// Lays the sources over each other; the notes are about what kube-proxy's configuration says in vain.
pub(super) fn merge(sources: &Sources<'_>) -> Result<(Values, Vec<Note>), Error> {
    let mut values: Values = SETTINGS.iter().map(|setting| (setting.key, default(setting))).collect();
    if !sources.hostname.is_empty() {
        let host = Value { texts: vec![sources.hostname.clone()], origin: Origin::Default };
        values.insert("node-name", host);
    }
    let mut of_kube_proxy = Vec::new();
    for (source, is_kube_proxy) in [(&sources.kube_proxy, true), (&sources.file, false)] {
        let Some((path, text)) = source else { continue };
        if is_kube_proxy || kube_proxy::is_object(text) {
            let mut read = kube_proxy::read(path, text)?;
            values.extend(std::mem::take(&mut read.values));
            of_kube_proxy.push(read);
        } else {
            values.extend(file(path, text)?);
        }
    }
    for setting in SETTINGS {
        let name = setting.env();
        if let Some(text) = (sources.env)(&name).filter(|text| !text.is_empty()) {
            let value = Value { texts: split(setting, &text), origin: Origin::Env(name) };
            values.insert(setting.key, value);
        }
        if let Some(texts) = sources.flags.get(setting.key) {
            let texts = texts.iter().flat_map(|text| split(setting, text)).collect();
            values.insert(setting.key, Value { texts, origin: Origin::Flag(setting.key) });
        }
    }
    let notes = of_kube_proxy.into_iter().flat_map(|read| kube_proxy::settle(&mut values, read)).collect();
    Ok((values, notes))
}

fn default(setting: &Setting) -> Value {
    let texts = if setting.default.is_empty() { vec![] } else { vec![setting.default.to_owned()] };
    Value { texts, origin: Origin::Default }
}

fn split(setting: &Setting, text: &str) -> Vec<String> {
    match setting.shape {
        Shape::Many => text.split(',').map(|part| part.trim().to_owned()).collect(),
        Shape::One | Shape::Switch => vec![text.to_owned()],
    }
}

fn line(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn file(path: &Path, text: &str) -> Result<Values, Error> {
    let table = DeTable::parse(text).map_err(|error| Error::Syntax {
        path: path.to_owned(),
        line: line(text, error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    })?;
    let mut values = Values::new();
    for (key, value) in table.get_ref() {
        let line = line(text, key.span().start);
        let name = key.get_ref().as_ref();
        let setting = SETTINGS.iter().find(|setting| setting.key == name).ok_or_else(|| {
            Error::UnknownKey { path: path.to_owned(), line, key: name.to_owned(), nearest: nearest(name) }
        })?;
        let origin = Origin::File { path: path.to_owned(), line };
        let texts = texts(setting, value, text, &origin)?;
        values.insert(setting.key, Value { texts, origin });
    }
    Ok(values)
}

fn nearest(name: &str) -> &'static str {
    let distance = |setting: &&Setting| strsim::damerau_levenshtein(setting.key, name);
    SETTINGS.iter().min_by_key(distance).map_or("", |setting| setting.key)
}

fn texts(
    setting: &Setting,
    value: &Spanned<DeValue<'_>>,
    file: &str,
    origin: &Origin,
) -> Result<Vec<String>, Error> {
    let wrong = |expected| Error::Invalid {
        origin: origin.clone(),
        key: setting.key,
        value: file.get(value.span()).unwrap_or_default().to_owned(),
        expected,
    };
    match (setting.shape, value.get_ref()) {
        (Shape::One | Shape::Many, DeValue::String(text)) => Ok(vec![text.to_string()]),
        (Shape::Switch, DeValue::Boolean(on)) => Ok(vec![on.to_string()]),
        (Shape::Many, DeValue::Array(items)) => items
            .iter()
            .map(|item| item.get_ref().as_str().map(str::to_owned).ok_or_else(|| wrong("a list of texts")))
            .collect(),
        (Shape::One, _) => Err(wrong("a text in quotes")),
        (Shape::Many, _) => Err(wrong("a list of texts")),
        (Shape::Switch, _) => Err(wrong("true or false")),
    }
}
