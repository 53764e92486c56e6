//! Which connections are meant.

use clap::ValueEnum;

use crate::args::conntrack::Filter;
use crate::args::{From, Global};
use crate::error::Error;
use crate::list::Connection;

/// A filter with whole names.
pub(super) struct Matcher {
    filter: Filter,
    proto: Option<&'static str>,
    state: Option<String>,
}

impl Matcher {
    /// A pod or Service without a namespace is in `--namespace`, or `default`. The maps hold no names.
    pub(super) fn new(global: &Global, filter: &Filter) -> Result<Self, Error> {
        if global.from == From::Kernel {
            match filter {
                Filter { svc: Some(_), .. } => return Err(Error::NeedsAgent("--svc")),
                Filter { pod: Some(_), .. } => return Err(Error::NeedsAgent("--pod")),
                _ => {}
            }
        }
        let namespace = global.namespace.as_deref().unwrap_or("default");
        let whole = |name: &Option<String>| {
            let name = name.as_deref()?;
            Some(if name.contains('/') { name.to_owned() } else { format!("{namespace}/{name}") })
        };
        let filter = Filter { svc: whole(&filter.svc), pod: whole(&filter.pod), ..filter.clone() };
        let proto = filter.proto.map(|proto| fairway_proto::control::Protocol::from(proto).as_str_name());
        let state = filter.state.and_then(|state| Some(state.to_possible_value()?.get_name().to_owned()));
        Ok(Self { filter, proto, state })
    }

    /// Whether a connection is meant: everything given must match.
    pub(super) fn matches(&self, it: &Connection) -> bool {
        let Filter { src, dst, frontend, backend, svc, pod, .. } = &self.filter;
        let frontend_in = |place: &crate::args::conntrack::Place| place.holds(&it.frontend, it.frontend_port);
        let backend_in = |place: &crate::args::conntrack::Place| place.holds(&it.backend, it.backend_port);
        let of_service = |wanted: &String| {
            let found = it.service.as_deref().unwrap_or_default();
            found.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        };
        self.proto.is_none_or(|proto| it.protocol == proto)
            && self.state.as_ref().is_none_or(|state| it.state == *state)
            && src.is_none_or(|place| place.holds(&it.source, it.source_port))
            && dst.as_ref().is_none_or(|place| frontend_in(place) || backend_in(place))
            && frontend.as_ref().is_none_or(frontend_in)
            && backend.as_ref().is_none_or(backend_in)
            && svc.as_ref().is_none_or(of_service)
            && pod.as_ref().is_none_or(|pod| {
                [&it.source_pod, &it.backend_pod].into_iter().any(|found| found.as_ref() == Some(pod))
            })
    }
}
