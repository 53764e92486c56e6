//! What is wrong with a declaration, and where.

use std::fmt;

use fairway_proto::model::ObjectName;

/// One thing that is wrong with what is declared: `web.yaml:12:5: Service default/web: spec.ports[0].port: ...`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file's name inside the manifests' directory, or the API server's address; none: the directory itself.
    pub file: Option<String>,
    /// Line and column, from 1.
    pub at: Option<(u64, u64)>,
    /// Kind and name, `Service default/web`.
    pub object: Option<String>,
    /// The field, `spec.ports[0].nodePort`.
    pub field: Option<String>,
    /// What is wrong.
    pub cause: Cause,
}

impl Problem {
    /// The field and what is wrong with it: what someone who looks at the object wants to know.
    pub(crate) fn words(&self) -> String {
        match &self.field {
            Some(field) => format!("{field} {}", self.cause),
            None => self.cause.to_string(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}")?;
            if let Some((line, column)) = self.at {
                write!(f, ":{line}:{column}")?;
            }
            write!(f, ": ")?;
        }
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        f.write_str(&self.words())
    }
}

/// What is wrong. The text continues the sentence that the field's name begins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Cause {
    /// The directory is not there.
    #[error("the directory of manifests is missing: create it, or start with another --manifests")]
    DirectoryMissing,
    /// The directory cannot be listed.
    #[error("the directory of manifests cannot be read: {error}")]
    DirectoryUnreadable {
        /// The system's words.
        error: String,
    },
    /// The file cannot be read.
    #[error("cannot be read: {error}")]
    Unreadable {
        /// The system's words.
        error: String,
    },
    /// Not UTF-8.
    #[error("is not UTF-8 text")]
    NotText,
    /// A file without a byte: most often one that is just being written.
    #[error("is empty: remove the file to remove its objects")]
    Empty,
    /// Neither YAML nor JSON.
    #[error("is not valid YAML: {message}")]
    Syntax {
        /// The parser's words.
        message: String,
    },
    /// A value of another type than the field's.
    #[error("does not fit: {message}")]
    Type {
        /// The parser's words.
        message: String,
    },
    /// A document without apiVersion or kind.
    #[error("is missing: this is not a Kubernetes object")]
    NotAnObject,
    /// A field that must be there.
    #[error("is missing")]
    Missing,
    /// A field that the API server would have filled in.
    #[error("is missing: there is no API server to choose one")]
    NotAllocated,
    /// A value that does not parse.
    #[error("is `{value}`, which is not {expected}")]
    Invalid {
        /// As written.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// Two entries of a list that must differ.
    #[error("repeats `{value}`")]
    Repeated {
        /// What both say.
        value: String,
    },
    /// Two declarations of one object.
    #[error("is declared in {first} too, and that one is used: remove one of them")]
    DeclaredTwice {
        /// The place of the one that is used.
        first: String,
    },
    /// Two Services claim one address.
    #[error("claims {claim}, which Service {owner} ({place}) has already: it is left out here")]
    Claimed {
        /// The address, port and protocol.
        claim: String,
        /// Who keeps it.
        owner: ObjectName,
        /// Where that one is declared.
        place: String,
    },
    /// The API server does not say what there is.
    #[error("cannot be read: {error}; what was read before stays in force")]
    ApiServer {
        /// The server's words, or the system's.
        error: String,
    },
    /// More than half of all objects of a kind are gone.
    #[error(
        "went away by more than half, from {before} to {now}: they stay in force until a second look in {seconds} s \
         (--allow-mass-delete does not wait)"
    )]
    MassDelete {
        /// How many there were.
        before: usize,
        /// How many there are.
        now: usize,
        /// When they are looked at again.
        seconds: u64,
    },
    /// An agent reports a pod that is bound to another node than its own.
    #[error(
        "is reported by the agent of node `{reporter}`, but bound to node `{node}`: that report is left out"
    )]
    ReportedElsewhere {
        /// The agent's node.
        reporter: String,
        /// The pod's node.
        node: String,
    },
}

impl Cause {
    /// The whole file, or the cluster's object, is not used because of it; its last good state stays in force.
    pub fn breaks_file(&self) -> bool {
        match self {
            Self::Unreadable { .. }
            | Self::NotText
            | Self::Empty
            | Self::Syntax { .. }
            | Self::Type { .. }
            | Self::NotAnObject
            | Self::Missing
            | Self::Invalid { .. }
            | Self::Repeated { .. } => true,
            Self::DirectoryMissing
            | Self::DirectoryUnreadable { .. }
            | Self::NotAllocated
            | Self::DeclaredTwice { .. }
            | Self::Claimed { .. }
            | Self::ApiServer { .. }
            | Self::MassDelete { .. }
            | Self::ReportedElsewhere { .. } => false,
        }
    }
}
