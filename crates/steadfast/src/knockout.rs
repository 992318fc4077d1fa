//! Steps and checks that can be left out, one at a time, to see whether any test notices.
//!
//! Without the feature `knockout` each macro is what stands in it, and nothing else. With it, every place that is wrapped in one
//! becomes a [`Switch`] at link time, so the list of them is the code's own; the one that the environment variable
//! `STEADFAST_KNOCK_OUT` names is out for the whole life of the process. Never in a build that holds data.

/// A sync. Knocked out, it is not done and succeeds; with `or`, that is done instead.
macro_rules! sync {
    ($name:literal, $sync:expr $(, or $instead:expr)? $(,)?) => {
        $crate::knockout::switched!(Sync, $name, $sync $(, $instead)?)
    };
}

/// A step of an order. Knocked out, it is not done and succeeds; with `or`, that is done instead.
macro_rules! step {
    ($name:literal, $step:expr $(, or $instead:expr)? $(,)?) => {
        $crate::knockout::switched!(Step, $name, $step $(, $instead)?)
    };
}

/// A condition that must hold. Knocked out, it is taken for granted.
macro_rules! holds {
    ($name:literal, $condition:expr $(,)?) => {
        $crate::knockout::switched!(Check, $name, $condition, true)
    };
}

/// What must not be done here, but later. Knocked out, it is done here.
macro_rules! not_yet {
    ($name:literal, $later:expr $(,)?) => {
        $crate::knockout::switched!(Step, $name, (), $later)
    };
}

#[cfg(not(feature = "knockout"))]
macro_rules! switched {
    ($kind:ident, $name:literal, $wanted:expr $(, $instead:expr)?) => {
        $wanted
    };
}

#[cfg(feature = "knockout")]
macro_rules! switched {
    ($kind:ident, $name:literal, $wanted:expr) => {
        $crate::knockout::switched!($kind, $name, $wanted, $crate::knockout::Skipped::skipped())
    };
    ($kind:ident, $name:literal, $wanted:expr, $instead:expr) => {{
        inventory::submit! {
            $crate::knockout::Switch {
                name: $name,
                kind: $crate::knockout::Kind::$kind,
                file: file!(),
                line: line!(),
            }
        }
        if $crate::knockout::is_out($name) { $instead } else { $wanted }
    }};
}

pub(crate) use {holds, not_yet, step, switched, sync};

#[cfg(feature = "knockout")]
pub use register::{Kind, Switch, VARIABLE, reached, switches};
#[cfg(feature = "knockout")]
pub(crate) use register::{Skipped, is_out};

#[cfg(feature = "knockout")]
mod register {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The environment variable that names the switch that is out.
    pub const VARIABLE: &str = "STEADFAST_KNOCK_OUT";

    /// What is left out.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Kind {
        /// A sync.
        Sync,
        /// A step of an order.
        Step,
        /// A condition.
        Check,
    }

    /// A place in the code that can be left out.
    #[derive(Debug)]
    pub struct Switch {
        /// Its name; no other has the same.
        pub name: &'static str,
        /// What is left out.
        pub kind: Kind,
        /// Where it stands.
        pub file: &'static str,
        /// And in which line.
        pub line: u32,
    }

    inventory::collect!(Switch);

    static REACHED: AtomicU64 = AtomicU64::new(0);

    /// Every switch in the code.
    pub fn switches() -> impl Iterator<Item = &'static Switch> {
        inventory::iter::<Switch>.into_iter()
    }

    /// How often the one that is out was come by.
    pub fn reached() -> u64 {
        REACHED.load(Ordering::Relaxed)
    }

    pub(crate) fn is_out(name: &str) -> bool {
        static OUT: OnceLock<Option<String>> = OnceLock::new();
        let out = OUT.get_or_init(|| std::env::var(VARIABLE).ok());
        let is_out = out.as_deref() == Some(name);
        if is_out {
            REACHED.fetch_add(1, Ordering::Relaxed);
        }
        is_out
    }

    /// What a step that was not done returns.
    pub(crate) trait Skipped {
        fn skipped() -> Self;
    }

    impl Skipped for () {
        fn skipped() -> Self {}
    }

    impl<T: Skipped, E> Skipped for Result<T, E> {
        fn skipped() -> Self {
            Ok(T::skipped())
        }
    }

    #[cfg(test)]
    mod tests {
        use std::collections::BTreeSet;

        use super::*;

        #[test]
        fn every_switch_has_a_name_of_its_own() {
            let names: BTreeSet<&str> = switches().map(|switch| switch.name).collect();
            assert_eq!(names.len(), switches().count());
            assert!(names.len() > 50, "they are found at link time: {names:?}");
        }
    }
}
