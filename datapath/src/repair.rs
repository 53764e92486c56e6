//! What was put back because somebody had removed it.

use std::fmt;

/// A kind of thing that can be removed behind the agent's back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A link was detached, or given another program.
    Link,
    /// A link's pin was removed.
    LinkPin,
    /// A clsact filter was deleted.
    Filter,
    /// A map's pin was removed.
    MapPin,
    /// A pod's entry was deleted or changed.
    Pod,
}

/// Something that was put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// Of what kind.
    pub what: What,
    /// Which one.
    pub subject: String,
}

impl Repair {
    /// The kind's name.
    pub fn what(&self) -> &'static str {
        match self.what {
            What::Link => "link",
            What::LinkPin => "link-pin",
            What::Filter => "filter",
            What::MapPin => "map-pin",
            What::Pod => "pod",
        }
    }
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = &self.subject;
        match self.what {
            What::Link => write!(f, "{subject} had been detached or replaced, and is attached again"),
            What::LinkPin => write!(f, "the pin of {subject} had been removed, and is there again"),
            What::Filter => write!(f, "the filter {subject} had been deleted, and is there again"),
            What::Pod => {
                write!(f, "the entry of pod {subject} had been deleted or changed, and is there again")
            }
            What::MapPin => write!(f, "the pin of map {subject} had been removed, and is there again"),
        }
    }
}
