//! Names of objects: many places hold the same one.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// `namespace/name`. A clone shares the text. In order by namespace, then by name.
#[derive(Clone)]
pub struct ObjectName(Arc<Text>);

struct Text {
    /// `namespace/name`.
    whole: Box<str>,
    /// How long the namespace is.
    namespace: usize,
}

impl ObjectName {
    /// A name from its parts.
    pub fn new(namespace: impl AsRef<str>, name: impl AsRef<str>) -> Self {
        let (namespace, name) = (namespace.as_ref(), name.as_ref());
        let whole = [namespace, "/", name].concat().into_boxed_str();
        Self(Arc::new(Text { whole, namespace: namespace.len() }))
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.0.whole[..self.0.namespace]
    }

    /// Its name in the namespace.
    pub fn name(&self) -> &str {
        &self.0.whole[self.0.namespace + 1..]
    }

    fn parts(&self) -> (&str, &str) {
        (self.namespace(), self.name())
    }
}

impl PartialEq for ObjectName {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || self.0.namespace == other.0.namespace && self.0.whole == other.0.whole
    }
}

impl Eq for ObjectName {}

impl PartialOrd for ObjectName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ObjectName {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) {
            return Ordering::Equal;
        }
        if self.0.namespace == other.0.namespace {
            // The slash stands at the same place.
            return self.0.whole.cmp(&other.0.whole);
        }
        self.parts().cmp(&other.parts())
    }
}

impl Hash for ObjectName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.whole)
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0.whole, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_by_namespace_and_then_by_name() {
        let name = ObjectName::new;
        // As texts these two would be the other way round.
        assert!(name("a", "x") < name("a-b", "x") && name("a", "y") > name("a", "x"));
        assert_eq!(name("a", "x"), ObjectName::new(String::from("a"), "x"));
        // A name from elsewhere may be any text.
        assert_ne!(name("a/b", "c"), name("a", "b/c"));
        let object = name("a/b", "");
        assert_eq!((object.namespace(), object.name(), object.to_string().as_str()), ("a/b", "", "a/b/"));
    }
}
