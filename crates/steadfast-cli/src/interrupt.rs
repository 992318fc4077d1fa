//! Ctrl-C, and what else asks a program to end: noticed between two steps, so that nothing is left half done.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::failure::Failure;

/// Whether anybody asked.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From here on those signals do not end the process; a second one does.
    pub(crate) fn listen() -> Result<Interrupt, Failure> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: what sees the flag set was not the first.
            flag::register_conditional_default(signal, Arc::clone(&asked)).map_err(failed)?;
            flag::register(signal, Arc::clone(&asked)).map_err(failed)?;
        }
        Ok(Interrupt(asked))
    }

    /// Has one of them come?
    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns when one of them has come.
    pub(crate) fn wait(&self) -> Result<(), Failure> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(failed)?;
        // One that came before it was listened to here is in the note.
        if !self.is_asked() {
            signals.forever().next();
        }
        Ok(())
    }

    /// As if one had come.
    #[cfg(test)]
    pub(crate) fn asked() -> Interrupt {
        Interrupt(Arc::new(AtomicBool::new(true)))
    }
}

fn failed(error: io::Error) -> Failure {
    Failure::Failed(format!("cannot listen for signals: {error}"))
}
