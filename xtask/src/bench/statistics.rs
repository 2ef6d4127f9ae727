//! Medians and spreads, and how a time is written.

use std::time::Duration;

/// Median, least and greatest of some times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) median: Duration,
    pub(super) least: Duration,
    pub(super) greatest: Duration,
}

impl Summary {
    /// `None` without samples.
    pub(super) fn of(samples: &[Duration]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort();
        let (least, greatest) = (*sorted.first()?, *sorted.last()?);
        let median = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2;
        Some(Self { median, least, greatest })
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} ({}-{})", time(self.median), time(self.least), time(self.greatest))
    }
}

/// Three figures that matter and the unit: `4.18 ms`, `417 ms`, `12.3 s`.
pub(super) fn time(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1000.0;
    // Borders lie where rounding would show a fourth figure.
    let (value, unit) = if milliseconds < 999.5 { (milliseconds, "ms") } else { (milliseconds / 1000.0, "s") };
    let decimals = match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

/// How many times faster `ours` is than `theirs`.
pub(super) fn ratio(ours: Duration, theirs: Duration) -> String {
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64().max(f64::MIN_POSITIVE);
    if ratio < 9.95 { format!("{ratio:.2}x") } else { format!("{ratio:.0}x") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_two() {
        let samples = [40, 10, 20, 30].map(Duration::from_millis);
        let summary = Summary::of(&samples).unwrap();
        assert_eq!(summary.to_string(), "25.0 ms (10.0 ms-40.0 ms)");
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn times_have_three_figures() {
        let shown = [4_184, 9_996, 41_840, 417_400, 999_700, 12_345_000].map(|micros| time(Duration::from_micros(micros)));
        assert_eq!(shown, ["4.18 ms", "10.0 ms", "41.8 ms", "417 ms", "1.00 s", "12.3 s"]);
    }

    #[test]
    fn a_ratio_above_one_means_that_we_are_faster() {
        assert_eq!(ratio(Duration::from_millis(4), Duration::from_millis(10)), "2.50x");
        assert_eq!(ratio(Duration::from_millis(4), Duration::from_millis(80)), "20x");
        assert_eq!(ratio(Duration::from_millis(10), Duration::from_millis(5)), "0.50x");
    }
}
