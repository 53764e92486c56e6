//! labelSelector and fieldSelector.

use serde_json::Value;

/// Which objects are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    Has(String),
    HasNot(String),
    Is(String, String),
    IsNot(String, String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
}

/// A text that is no selector, as the server quotes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoSelector(pub(super) String);

impl Selector {
    pub(super) fn parse(labels: &str, fields: &str) -> Result<Self, NoSelector> {
        let labels = split(labels).into_iter().map(label).collect::<Result<_, _>>()?;
        let fields = split(fields).into_iter().map(field).collect::<Result<_, _>>()?;
        Ok(Self { labels, fields })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        let label = |key: &str| labels.get(key).and_then(Value::as_str);
        let field = |path: &str| {
            let value = path.split('.').try_fold(object, |value, step| value.get(step));
            Some(value.and_then(Value::as_str).unwrap_or_default())
        };
        self.labels.iter().all(|requirement| requirement.holds(label))
            && self.fields.iter().all(|requirement| requirement.holds(field))
    }
}

impl Requirement {
    fn holds<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        match self {
            Self::Has(key) => value(key).is_some(),
            Self::HasNot(key) => value(key).is_none(),
            Self::Is(key, wanted) => value(key) == Some(wanted),
            Self::IsNot(key, other) => value(key) != Some(other),
            Self::In(key, any) => value(key).is_some_and(|value| any.iter().any(|one| one == value)),
            Self::NotIn(key, none) => value(key).is_none_or(|value| none.iter().all(|one| one != value)),
        }
    }
}

/// At commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0;
    text.split(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
    .collect()
}

fn label(text: &str) -> Result<Requirement, NoSelector> {
    let refused = || NoSelector(text.to_owned());
    if let Some(key) = text.strip_prefix('!') {
        return Ok(Requirement::HasNot(key.trim().into()));
    }
    if let Some(list) = text.strip_suffix(')') {
        let (head, list) = list.split_once('(').ok_or_else(refused)?;
        let values = list.split(',').map(|value| value.trim().to_owned()).collect();
        return match head.split_whitespace().collect::<Vec<_>>().as_slice() {
            [key, "in"] => Ok(Requirement::In((*key).into(), values)),
            [key, "notin"] => Ok(Requirement::NotIn((*key).into(), values)),
            _ => Err(refused()),
        };
    }
    compare(text).map_or_else(
        || {
            if text.contains(char::is_whitespace) {
                Err(refused())
            } else {
                Ok(Requirement::Has(text.into()))
            }
        },
        Ok,
    )
}

/// Fields that real servers know for these kinds.
const FIELDS: [&str; 5] =
    ["metadata.name", "metadata.namespace", "spec.nodeName", "spec.type", "spec.clusterIP"];

fn field(text: &str) -> Result<Requirement, NoSelector> {
    let refused = || NoSelector(text.to_owned());
    let requirement = compare(text).ok_or_else(refused)?;
    match &requirement {
        Requirement::Is(key, _) | Requirement::IsNot(key, _) if FIELDS.contains(&key.as_str()) => {
            Ok(requirement)
        }
        _ => Err(refused()),
    }
}

fn compare(text: &str) -> Option<Requirement> {
    let parts =
        |sign| text.split_once(sign).map(|(key, value): (&str, &str)| (key.trim().to_owned(), value.trim()));
    if let Some((key, value)) = parts("!=") {
        return Some(Requirement::IsNot(key, value.into()));
    }
    let (key, value) = parts("==").or_else(|| parts("="))?;
    Some(Requirement::Is(key, value.into()))
}
