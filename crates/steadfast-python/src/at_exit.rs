//! What becomes of maps that are open when the interpreter ends: nobody drops what a module holds. They are closed, so that plain files
//! are left.

use std::sync::{Mutex, PoisonError, Weak};

use pyo3::prelude::*;
use pyo3::types::PyCFunction;

use crate::held::Held;

static OPEN: Mutex<Vec<Weak<Held<steadfast::AtomicMapping>>>> = Mutex::new(Vec::new());

/// Remembers a map.
pub(crate) fn note(map: Weak<Held<steadfast::AtomicMapping>>) {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.retain(|map| map.strong_count() > 0);
    open.push(map);
}

/// Has the interpreter close them at its end.
pub(crate) fn register(py: Python<'_>) -> PyResult<()> {
    let close =
        PyCFunction::new_closure(py, Some(c"close_all"), None, |arguments, _| close_all(arguments.py()))?;
    py.import("atexit")?.call_method1("register", (close,))?;
    Ok(())
}

fn close_all(py: Python<'_>) {
    let open = std::mem::take(&mut *OPEN.lock().unwrap_or_else(PoisonError::into_inner));
    py.detach(|| {
        for map in open.iter().filter_map(Weak::upgrade) {
            map.end();
        }
    });
    crate::log::say(py);
}
