//! Many timings, and what is said of them.

use std::time::Duration;

/// Figures of one kind: timings in microseconds.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// One more timing.
    pub fn add(&mut self, time: Duration) {
        self.push(micros(time));
    }

    /// One more figure that is no plain duration: a time per page, say.
    pub fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// All of those as well.
    pub fn extend(&mut self, others: &Samples) {
        self.0.extend_from_slice(&others.0);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The median.
    #[must_use]
    pub fn p50(&self) -> f64 {
        self.percentile(50)
    }

    /// What 99 of 100 do not exceed.
    #[must_use]
    pub fn p99(&self) -> f64 {
        self.percentile(99)
    }

    /// The nearest rank; 0 of no samples at all.
    fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

/// A duration in microseconds.
#[must_use]
pub fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::Samples;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let mut samples = Samples::default();
        assert_eq!((samples.p50(), samples.p99()), (0.0, 0.0));
        samples.push(7.0);
        assert_eq!((samples.p50(), samples.p99()), (7.0, 7.0));
        samples = Samples::default();
        for figure in (1..=100).rev() {
            samples.push(f64::from(figure));
        }
        assert_eq!((samples.p50(), samples.p99(), samples.count()), (50.0, 99.0, 100));
        samples.push(1000.0);
        assert_eq!((samples.p50(), samples.p99()), (51.0, 100.0));
    }
}
