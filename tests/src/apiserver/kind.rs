//! The kinds that the server has, and their paths.

/// A kind of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1` Service.
    Service,
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice,
    /// `v1` Node.
    Node,
    /// `v1` Pod.
    Pod,
    /// Event, of `v1` or `events.k8s.io/v1`: both are one store.
    Event,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Service, Self::EndpointSlice, Self::Node, Self::Pod, Self::Event];

    /// As in `kind:`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::Event => "Event",
        }
    }

    /// As in paths.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Service => "services",
            Self::EndpointSlice => "endpointslices",
            Self::Node => "nodes",
            Self::Pod => "pods",
            Self::Event => "events",
        }
    }

    /// Empty for the core group.
    pub fn group(self) -> &'static str {
        match self {
            Self::EndpointSlice => "discovery.k8s.io",
            _ => "",
        }
    }

    /// As in `apiVersion:`.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::EndpointSlice => "discovery.k8s.io/v1",
            _ => "v1",
        }
    }

    /// Whether its objects are in namespaces.
    pub fn namespaced(self) -> bool {
        self != Self::Node
    }

    /// The kind of that name.
    pub(super) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) kind: Kind,
    /// `events.k8s.io` may name Events too.
    pub(super) group: String,
    /// None: all namespaces, or no namespaced kind.
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) subresource: Option<String>,
}

impl Target {
    /// None: there is nothing at this path.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let steps: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, rest) = match steps.as_slice() {
            ["api", "v1", rest @ ..] => ("", rest),
            ["apis", group, "v1", rest @ ..] => (*group, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
            rest => (None, rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, None, None),
            [plural, name] => (*plural, Some(*name), None),
            [plural, name, subresource] => (*plural, Some(*name), Some(*subresource)),
            _ => return None,
        };
        let kind = Kind::ALL.into_iter().find(|kind| {
            let events = *kind == Kind::Event && group == "events.k8s.io";
            kind.plural() == plural && (kind.group() == group || events)
        })?;
        let misplaced =
            matches!((kind.namespaced(), namespace, name), (true, None, Some(_)) | (false, Some(_), _));
        (!misplaced).then(|| Self {
            kind,
            group: group.into(),
            namespace: namespace.map(Into::into),
            name: name.map(Into::into),
            subresource: subresource.map(Into::into),
        })
    }
}
