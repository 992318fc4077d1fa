//! How a command ends when it does not end well, and the exit code of each way.

use std::process::ExitCode;

/// Why a command stops.
#[derive(Debug)]
pub enum Failure {
    /// Something failed: the text goes to standard error; exit code 1.
    Failed(String),
    /// The answer is "no", and it has been said already; exit code 1.
    No,
    /// The command was used wrongly in a way that the parser cannot see; exit code 2.
    Usage(String),
    /// A program could not be started, with the exit code that shells have for it.
    Code(u8, String),
    /// Whoever read our output has enough (`steadfast log x | head -1`): nothing to complain about; exit code
    /// 0.
    PipeClosed,
}

impl Failure {
    /// Says what is to be said, and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Failure::Failed(text) => {
                crate::output::complain(&text);
                ExitCode::from(1)
            }
            Failure::No => ExitCode::from(1),
            Failure::Usage(text) => {
                crate::output::complain(&text);
                ExitCode::from(2)
            }
            Failure::Code(code, text) => {
                crate::output::complain(&text);
                ExitCode::from(code)
            }
            Failure::PipeClosed => ExitCode::SUCCESS,
        }
    }
}

impl From<steadfast::Error> for Failure {
    fn from(error: steadfast::Error) -> Self {
        Failure::Failed(error.to_string())
    }
}
