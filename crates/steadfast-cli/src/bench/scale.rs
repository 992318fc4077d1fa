//! A logarithmic axis.

/// From one power of ten to another, drawn between two places.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    low: i32,
    high: i32,
    from: f64,
    to: f64,
}

impl Scale {
    /// Whole decades that hold all figures, so that the grid begins and ends with a round one. What is no positive number is
    /// not looked at: it has no place on such an axis.
    pub(super) fn over(figures: impl IntoIterator<Item = f64>, from: f64, to: f64) -> Scale {
        let mut ends: Option<(f64, f64)> = None;
        for figure in figures.into_iter().filter(|figure| figure.is_finite() && *figure > 0.0) {
            let (least, most) = ends.unwrap_or((figure, figure));
            ends = Some((least.min(figure), most.max(figure)));
        }
        let (least, most) = ends.unwrap_or((1.0, 10.0));
        let low = least.log10().floor() as i32;
        let high = (most.log10().ceil() as i32).max(low + 1);
        Scale { low, high, from, to }
    }

    /// Where a figure is drawn; at an end what lies beyond it.
    pub(super) fn place(&self, figure: f64) -> f64 {
        let decades = f64::from(self.high - self.low);
        let share = ((figure.log10() - f64::from(self.low)) / decades).clamp(0.0, 1.0);
        // Of what is no number, the beginning.
        let share = if share.is_nan() { 0.0 } else { share };
        self.from + share * (self.to - self.from)
    }

    /// The powers of ten.
    pub(super) fn decades(&self) -> impl Iterator<Item = f64> + use<> {
        (self.low..=self.high).map(|power| 10_f64.powi(power))
    }

    /// Between them: twice to nine times each.
    pub(super) fn between(&self) -> impl Iterator<Item = f64> + use<> {
        (self.low..self.high)
            .flat_map(|power| (2..=9).map(move |times| f64::from(times) * 10_f64.powi(power)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decades_hold_all_figures() {
        let scale = Scale::over([312.0, 45_000.0, 7.0], 100.0, 400.0);
        assert_eq!(scale.decades().collect::<Vec<_>>(), [1.0, 10.0, 100.0, 1e3, 1e4, 1e5]);
        assert_eq!((scale.place(1.0), scale.place(1e5)), (100.0, 400.0));
        assert!((scale.place(1000.0) - 280.0).abs() < 1e-9);
        assert_eq!(scale.between().count(), 5 * 8);
        // Turned around, as a vertical axis is.
        let scale = Scale::over([10.0, 1000.0], 300.0, 0.0);
        assert!((scale.place(100.0) - 150.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_and_nonsense_have_a_place_on_the_axis() {
        for figures in [vec![], vec![0.0, -1.0, f64::NAN, f64::INFINITY], vec![5.0], vec![100.0]] {
            let scale = Scale::over(figures, 0.0, 10.0);
            assert!(scale.decades().count() >= 2);
            for figure in [0.0, -5.0, f64::NAN, f64::INFINITY, 1e300, 1e-300, 5.0] {
                assert!((0.0..=10.0).contains(&scale.place(figure)), "{scale:?} {figure}");
            }
        }
    }
}
