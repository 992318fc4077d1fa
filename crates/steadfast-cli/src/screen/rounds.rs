//! How often something is looked at, and how it is told.

use std::time::Duration;

/// Options of all live screens.
#[derive(Debug, clap::Args)]
pub(crate) struct Rounds {
    /// Rest between two looks, such as 0.5s, 500ms or 10s; at least 100ms. On a screen it is longer where looks take long: they take a
    /// fifth of the time at most. Default: 1s.
    #[arg(long, value_name = "TIME", value_parser = parse_interval, default_value = "1s", hide_default_value = true)]
    pub(crate) interval: Duration,
    /// Look once, print what was seen as plain text, and end. Default: only where standard output is no terminal.
    #[arg(long)]
    pub(crate) once: bool,
    /// Print a line of JSON each round (docs/screens.md), without an end unless --once is given. Default: off.
    #[arg(long)]
    pub(crate) json: bool,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let wrong = || "give a time such as 0.5s, 500ms or 10s".to_owned();
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1e-3),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let seconds = number.trim().parse::<f64>().map_err(|_| wrong())? * unit;
    match Duration::try_from_secs_f64(seconds) {
        Ok(interval) if interval >= Duration::from_millis(100) => Ok(interval),
        Ok(_) => Err("the rest between two looks is 100ms at least".to_owned()),
        Err(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_times_of_a_tenth_of_a_second_and_more() {
        for (text, millis) in [("1", 1000), ("1s", 1000), ("0.5s", 500), ("100ms", 100), ("10 s", 10_000)] {
            assert_eq!(parse_interval(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "0", "99ms", "-1s", "NaN", "inf", "1e300", "1m"] {
            assert!(parse_interval(text).is_err(), "{text}");
        }
    }
}
