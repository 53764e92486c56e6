//! What a run came to, as it is written and read again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Why a report cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A file.
    #[error("`{path}`")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not a report.
    #[error("`{path}` is not a report of `bench run --json`")]
    Shape {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
}

/// A whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The machine, the programs, and how they were called.
    pub env: BTreeMap<String, String>,
    /// What was measured, and what was not.
    pub rows: Vec<Row>,
}

/// One line: what a peer did in a cell, or why it did not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Row {
    /// Figures.
    Measured(Box<Figures>),
    /// Left out.
    Skipped(Skipped),
}

/// What could not be measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Skipped {
    /// Who.
    pub peer: String,
    /// In which workload; none: in all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub workload: Option<String>,
    /// From where; none: from everywhere.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<String>,
    /// With how many Services; none: with any number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub services: Option<u32>,
    /// Why.
    pub skipped: String,
}

/// Medians of the rounds. Times are of one operation, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Who.
    pub peer: String,
    /// What the client did.
    pub workload: String,
    /// Where it was: `pod-same-node`, `pod-other-node`, `node` or `external`.
    pub from: String,
    /// By what it asked: `clusterip`, `nodeport` or `lb`.
    pub via: String,
    /// Where the backends were: `local` to the node that is asked, or `remote`.
    pub backend: String,
    /// How many Services there were.
    pub services: u32,
    /// How many backends the one that was asked had.
    pub backends: u32,
    /// `v4` or `v6`.
    pub family: String,
    /// `same`: client and server on one CPU; `each`: on one each.
    pub cpus: String,
    /// `native` or `vxlan`: how packets reach the other node's pods.
    #[serde(default)]
    pub routing: String,
    /// `closed`, or operations a second.
    pub pace: String,
    /// Half of the operations took at most this.
    pub p50_us: f64,
    /// Nine of ten.
    pub p90_us: f64,
    /// 99 of a hundred.
    pub p99_us: f64,
    /// Operations a second; of streams, MiB a second.
    pub ops: f64,
    /// CPU time that one operation cost on both sides and between.
    pub cpu_us_per_op: f64,
    /// `p50` or `ops`: what the ratio is of.
    pub ratio_of: String,
    /// To the peer `clean` in the same round; none without that peer.
    pub ratio_to_clean: Option<f64>,
    /// Lower end of its 95 % confidence interval.
    pub ci_low: Option<f64>,
    /// Upper end of it.
    pub ci_high: Option<f64>,
    /// Operations that failed, of all rounds.
    pub errors: u64,
    /// Each round.
    pub rounds: Vec<Round>,
    /// Points of the distribution of all rounds together: share of the operations, and microseconds.
    pub percentiles: Vec<(f64, f64)>,
}

/// One round of one peer in one cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// As in [`Figures`].
    pub p50_us: f64,
    /// As in [`Figures`].
    pub p90_us: f64,
    /// As in [`Figures`].
    pub p99_us: f64,
    /// As in [`Figures`].
    pub ops: f64,
    /// As in [`Figures`].
    pub cpu_us_per_op: f64,
    /// To `clean` in this round.
    pub ratio_to_clean: Option<f64>,
}

impl Figures {
    /// From where, in one word.
    #[must_use]
    pub fn from_name(&self) -> String {
        if self.from == "external" { format!("{}-{}", self.via, self.backend) } else { self.from.clone() }
    }

    /// What a row shares with the rows of other peers.
    #[must_use]
    pub fn cell(&self) -> String {
        let Self { workload, services, backends, family, cpus, pace, .. } = self;
        let from = self.from_name();
        let pace = if pace == "closed" { String::new() } else { format!(" rate={pace}") };
        let routing = if self.routing == "vxlan" { " vxlan" } else { "" };
        format!(
            "{workload} from={from} {family} services={services} backends={backends} cpus={cpus}{routing}{pace}"
        )
    }
}

impl Report {
    /// Reads a report, or that of a directory (`report.json`).
    ///
    /// # Errors
    /// There is none, or it is of another shape.
    pub fn read(path: &Path) -> Result<Self, ReportError> {
        let path = if path.is_dir() { path.join("report.json") } else { path.to_owned() };
        let text =
            fs::read_to_string(&path).map_err(|source| ReportError::File { path: path.clone(), source })?;
        serde_json::from_str(&text).map_err(|source| ReportError::Shape { path, source })
    }

    /// Writes it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), ReportError> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|source| ReportError::Shape { path: path.to_owned(), source })?;
        fs::write(path, text + "\n").map_err(|source| ReportError::File { path: path.to_owned(), source })
    }

    /// The rows with figures.
    pub fn figures(&self) -> impl Iterator<Item = &Figures> {
        self.rows.iter().filter_map(|row| match row {
            Row::Measured(figures) => Some(&**figures),
            Row::Skipped(_) => None,
        })
    }

    /// The rows without.
    pub fn skipped(&self) -> impl Iterator<Item = &Skipped> {
        self.rows.iter().filter_map(|row| match row {
            Row::Measured(_) => None,
            Row::Skipped(skipped) => Some(skipped),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_documented_shape_and_is_read_again() {
        let figures = Figures { peer: "fairway".into(), ratio_to_clean: Some(0.9), ..Figures::default() };
        let skipped =
            Skipped { peer: "ipvs".into(), skipped: "the kernel has no IPVS".into(), ..Skipped::default() };
        let rows = vec![Row::Measured(Box::new(figures)), Row::Skipped(skipped)];
        let report = Report { env: BTreeMap::from([("kernel".into(), "6.18".into())]), rows };
        let value = serde_json::to_value(&report).unwrap();
        let row = value["rows"][0].as_object().unwrap();
        for field in [
            "peer",
            "workload",
            "from",
            "services",
            "backends",
            "family",
            "p50_us",
            "p90_us",
            "p99_us",
            "ops",
            "cpu_us_per_op",
            "ratio_to_clean",
            "ci_low",
            "ci_high",
        ] {
            assert!(row.contains_key(field), "{field}");
        }
        assert!(value["env"].is_object());
        let skipped = serde_json::json!({"peer": "ipvs", "skipped": "the kernel has no IPVS"});
        assert_eq!(value["rows"][1], skipped);
        assert_eq!(serde_json::from_value::<Report>(value).unwrap(), report);
    }
}
