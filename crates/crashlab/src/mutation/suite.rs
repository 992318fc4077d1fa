//! The suite that must notice what was left out: small doses of everything that runs on a simulated disk.

use super::scenarios;
use crate::outcome::Failure;

/// One of its parts: a seed, and how much of it to try (1 is the least that is of use).
pub(super) type Part = fn(u64, u64) -> Result<(), Failure>;

/// All parts, in the order in which they are tried. Parts of other modules are added here, behind the scenarios.
pub(super) fn parts() -> impl Iterator<Item = (&'static str, Part)> {
    scenarios::PARTS.iter().copied()
}

/// Tries all parts until the first failure, whose part is named.
pub(super) fn run(seed: u64, dose: u64) -> Result<(), (&'static str, Failure)> {
    parts().try_for_each(|(name, part)| part(seed, dose).map_err(|failure| (name, failure)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_is_found_where_nothing_is_left_out() {
        super::run(1, 1).unwrap();
    }
}
