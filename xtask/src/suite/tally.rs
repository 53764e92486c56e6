//! How many tests passed and failed.

use std::fmt;
use std::ops::AddAssign;

/// Counted tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
}

impl Tally {
    /// Reads a test runner's summary, `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
    pub(crate) fn of_summary(line: &str) -> Option<Self> {
        let counts = line.trim().strip_prefix("test result: ")?.split_once(". ")?.1;
        let count = |what: &str| {
            counts.split("; ").find_map(|count| count.strip_suffix(what)?.trim_end().parse().ok())
        };
        Some(Self {
            passed: count("passed")?,
            failed: count("failed")?,
            skipped: count("ignored").unwrap_or(0),
        })
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(out, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn the_harness_summary_is_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.02s";
        assert_eq!(Tally::of_summary(line), Some(Tally { passed: 12, failed: 3, skipped: 1 }));
    }

    #[test]
    fn a_summary_may_leave_out_what_is_ignored() {
        let line = "test result: ok. 150 passed; 0 failed; finished in 61.2s";
        assert_eq!(Tally::of_summary(line), Some(Tally { passed: 150, failed: 0, skipped: 0 }));
    }

    #[test]
    fn other_lines_are_no_summary() {
        assert_eq!(Tally::of_summary("test tests::passes ... ok"), None);
        assert_eq!(Tally::of_summary("test result: unknown"), None);
    }

    #[test]
    fn a_total_names_skipped_tests_only_when_there_are_some() {
        let mut total = Tally { passed: 2, failed: 0, skipped: 0 };
        assert_eq!(total.to_string(), "2 passed, 0 failed");
        total += Tally { passed: 1, failed: 1, skipped: 1 };
        assert_eq!(total.to_string(), "3 passed, 1 failed, 1 skipped");
    }
}
