//! Times for people: three digits that count, in the unit that suits them.

/// `85.0 ns`, `1.25 µs`, `312 µs`, `10.4 ms`, `2.50 s`.
pub(crate) fn show(us: f64) -> String {
    for (one, unit) in [(1e-3, "ns"), (1.0, "µs"), (1e3, "ms")] {
        // Beyond that it would be rounded to four digits.
        if us / one < 999.5 {
            return format!("{} {unit}", three_digits(us / one));
        }
    }
    format!("{} s", three_digits(us / 1e6))
}

/// A figure with three digits, or as many as stand before its point.
pub(crate) fn three_digits(figure: f64) -> String {
    match figure {
        _ if figure < 9.995 => format!("{figure:.2}"),
        _ if figure < 99.95 => format!("{figure:.1}"),
        _ => format!("{figure:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::show;

    #[test]
    fn three_digits_count_in_every_unit() {
        for (us, text) in [
            (0.0, "0.00 ns"),
            (0.085, "85.0 ns"),
            (0.9996, "1.00 µs"),
            (1.254, "1.25 µs"),
            (9.996, "10.0 µs"),
            (312.4, "312 µs"),
            (999.4, "999 µs"),
            (999.6, "1.00 ms"),
            (10_449.0, "10.4 ms"),
            (2_500_000.0, "2.50 s"),
            (1_234_500_000.0, "1234 s"),
        ] {
            assert_eq!(show(us), text);
        }
    }
}
