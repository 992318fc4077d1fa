//! The part of the Python module `steadfast` that is written in Rust: `steadfast._native`.
//!
//! | file | what it has for Python |
//! |---|---|
//! | `errors` | exceptions, one class for each kind |
//! | `bytes` | what stands between the brackets |
//! | `given` | paths, descriptors, ranges and bytes as Python gives them |
//! | `held` | a map, who looks at it, and what is left of it once it is closed |
//! | `lease` | the buffer protocol: bytes that somebody looks at |
//! | `open` | how maps are opened |
//! | `atomic`, `transaction`, `status` | atomic maps |
//! | `mapping`, `residency` | kernel mappings, and what is in memory of files |
//! | `ticket` | what goes on while the program does other things |
//! | `rows` | arrays that grow where they are |
//! | `at_exit` | what becomes of open maps when the interpreter ends |
//! | `log` | what is said beside errors |
//!
//! Two rules hold all over. Whoever waits, for the disk or for another thread's call, does not hold the interpreter's lock. And
//! memory that Python was shown once stays memory for as long as the map's object lives, since nobody knows who kept its address.

#![warn(clippy::unwrap_used)]

mod at_exit;
mod atomic;
mod bytes;
mod errors;
mod given;
mod held;
mod lease;
mod log;
mod mapping;
mod open;
mod residency;
mod rows;
mod status;
mod ticket;
mod transaction;

use pyo3::prelude::*;

#[pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::atomic::AtomicMapping;
    #[pymodule_export]
    use crate::lease::Lease;
    #[pymodule_export]
    use crate::mapping::Mapping;
    #[pymodule_export]
    use crate::open::{load, map, recover, view};
    #[pymodule_export]
    use crate::residency::Residency;
    #[pymodule_export]
    use crate::rows::_set_rows;
    #[pymodule_export]
    use crate::status::{Recovery, Status};
    #[pymodule_export]
    use crate::ticket::{CommitTicket, SyncTicket};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        crate::log::install();
        crate::at_exit::register(module.py())
    }
}
