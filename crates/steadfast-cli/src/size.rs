//! Sizes and ranges as people write them: `4096`, `64K`, `1GiB`, `0..1M`.

use std::ops::Bound;

/// Reads a number of bytes with an optional suffix. `K`, `M`, `G` and `T` count in 1024s, as `KiB` and so on
/// do.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, suffix) = text.split_at(digits);
    if number.is_empty() {
        return Err("give a whole number of bytes, such as 4096, 64K or 1GiB".to_owned());
    }
    let shift = match suffix.trim_start() {
        "" | "B" => 0,
        "K" | "k" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        "T" | "TiB" => 40,
        "KB" | "kB" | "MB" | "GB" | "TB" => {
            return Err("sizes count in 1024s here: write K or KiB, M or MiB, G or GiB, T or TiB".to_owned());
        }
        other => return Err(format!("unknown suffix `{other}`: write K, M, G, T, KiB, MiB, GiB or TiB")),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| "this is more bytes than 64 bits can count".to_owned())
}

/// A range of bytes with either end left out, as the library takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteRange(pub(crate) Bound<usize>, pub(crate) Bound<usize>);

impl ByteRange {
    /// Everything.
    pub(crate) const ALL: ByteRange = ByteRange(Bound::Unbounded, Bound::Unbounded);

    /// As offsets of a file.
    pub(crate) fn in_file(self) -> (Bound<u64>, Bound<u64>) {
        (self.0.map(|at| at as u64), self.1.map(|at| at as u64))
    }

    /// Reads `A..B`, `A..`, `..B` or `..`.
    pub(crate) fn parse(text: &str) -> Result<ByteRange, String> {
        let (start, end) =
            text.split_once("..").ok_or("give a range A..B, such as 0..4096, 1M.. or ..64K")?;
        let bound = |text: &str| match text {
            "" => Ok(None),
            _ => parse(text)
                .and_then(|at| usize::try_from(at).map_err(|_| "an offset of this size cannot be".to_owned()))
                .map(Some),
        };
        let (start, end) = (bound(start)?, bound(end)?);
        if let (Some(start), Some(end)) = (start, end)
            && start > end
        {
            return Err(format!("the range ends ({end}) before it starts ({start})"));
        }
        Ok(ByteRange(
            start.map_or(Bound::Unbounded, Bound::Included),
            end.map_or(Bound::Unbounded, Bound::Excluded),
        ))
    }
}

/// A part of a whole, from 0% to 100%.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share(f64);

impl Share {
    /// Reads `90%` or `99.5%`.
    pub(crate) fn parse(text: &str) -> Result<Share, String> {
        let number = text.strip_suffix('%').ok_or("give a percentage, such as 90%")?;
        match number.trim().parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Share(percent / 100.0)),
            _ => Err("give a percentage from 0% to 100%".to_owned()),
        }
    }

    /// From 0 to 1.
    pub(crate) fn get(self) -> f64 {
        self.0
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}%", self.0 * 100.0)
    }
}

/// As [`show`], in as few characters as a table has: `512B`, `64K`, `1.5G`.
pub(crate) fn short(bytes: u64) -> String {
    let (shift, suffix) = match bytes {
        0..1024 => return format!("{bytes}B"),
        1024..0x10_0000 => (10, 'K'),
        0x10_0000..0x4000_0000 => (20, 'M'),
        0x4000_0000..0x100_0000_0000 => (30, 'G'),
        _ => (40, 'T'),
    };
    let unit = 1_u64 << shift;
    if bytes.is_multiple_of(unit) || bytes >= 10 * unit {
        format!("{}{suffix}", bytes / unit)
    } else {
        format!("{:.1}{suffix}", bytes as f64 / unit as f64)
    }
}

/// A number of bytes for people: exact where it is a round number of KiB, MiB or GiB, else with one decimal.
pub(crate) fn show(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..1024 => return format!("{bytes} bytes"),
        1024..0x10_0000 => (1u64 << 10, "KiB"),
        0x10_0000..0x4000_0000 => (1 << 20, "MiB"),
        _ => (1 << 30, "GiB"),
    };
    if bytes.is_multiple_of(unit) {
        format!("{} {name}", bytes / unit)
    } else {
        format!("{:.1} {name}", bytes as f64 / unit as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_with_and_without_suffix() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("12B", 12),
            ("64K", 65536),
            ("1KiB", 1024),
            ("3M", 3 << 20),
            ("2 GiB", 2 << 30),
            ("1T", 1 << 40),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "K", "-1", "1.5G", "1KB", "1x", "99999999999999999999", "99999999T", "0x10"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_with_and_without_ends() {
        use Bound::{Excluded, Included, Unbounded};
        assert_eq!(ByteRange::parse("1K..2K"), Ok(ByteRange(Included(1024), Excluded(2048))));
        assert_eq!(ByteRange::parse("5.."), Ok(ByteRange(Included(5), Unbounded)));
        assert_eq!(ByteRange::parse("..1M"), Ok(ByteRange(Unbounded, Excluded(1 << 20))));
        assert_eq!(ByteRange::parse(".."), Ok(ByteRange::ALL));
        assert_eq!(ByteRange::parse("7..7"), Ok(ByteRange(Included(7), Excluded(7))));
        for text in ["", "5", "2K..1K", "a..b", "1..2..3", "-1..2"] {
            assert!(ByteRange::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_percentages() {
        assert_eq!(Share::parse("90%"), Ok(Share(0.9)));
        assert_eq!(Share::parse("99.5 %").map(|share| share.to_string()), Ok("99.5%".to_owned()));
        for text in ["", "90", "%", "-1%", "101%", "x%", "NaN%"] {
            assert!(Share::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_for_tables() {
        for (bytes, text) in [
            (1, "1B"),
            (1023, "1023B"),
            (1024, "1K"),
            (1536, "1.5K"),
            (20_000, "19K"),
            (5 << 30, "5G"),
            (3 << 40, "3T"),
        ] {
            assert_eq!(short(bytes), text);
        }
    }

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (1 << 20, "1 MiB"),
            (10 << 30, "10 GiB"),
        ] {
            assert_eq!(show(bytes), text);
        }
    }
}
