//! The watched files as a line of JSON (docs/screens.md).

use serde::Serialize;

use super::journal;
use super::known::{Change, Known, Watched};
use super::look::Trouble;
use crate::screen::View;
use crate::stat::{self, page_bytes};

/// A line of JSON: a round.
#[derive(Debug, Serialize)]
pub(super) struct Answer<'known> {
    schema: u32,
    round: u64,
    /// Since the watch began.
    seconds: f64,
    page_bytes: u64,
    files: Vec<File<'known>>,
    gone: Vec<String>,
    total: stat::Total,
    machine_written_bytes_per_second: Option<f64>,
    failed: Vec<Failed>,
}

impl<'known> Answer<'known> {
    pub(super) fn of(known: &'known Known, view: &View) -> Answer<'known> {
        Answer {
            schema: 1,
            round: known.round,
            seconds: known.at.as_secs_f64(),
            page_bytes: page_bytes(),
            files: known
                .sorted(view)
                .into_iter()
                .filter(|(_, file)| file.is_there)
                .map(|(_, file)| File::of(file))
                .collect(),
            gone: known
                .files
                .iter()
                .filter(|(_, file)| file.change() == Some(&Change::Gone))
                .map(|(path, _)| path.display().to_string())
                .collect(),
            total: known.total(),
            machine_written_bytes_per_second: known.machine_written_per_second,
            failed: known
                .failed
                .iter()
                .filter_map(|(path, trouble)| match trouble {
                    Trouble::Gone => None,
                    Trouble::Other(error) => {
                        Some(Failed { path: path.display().to_string(), error: error.clone() })
                    }
                })
                .collect(),
        }
    }
}

#[derive(Debug, Serialize)]
struct File<'known> {
    #[serde(flatten)]
    row: &'known stat::Row,
    written_bytes_per_second: Option<f64>,
    /// `new`, `replaced`, `grew` or `shrank`, for five seconds after it was seen.
    change: Option<&'static str>,
    journal: Option<&'known journal::Seen>,
    commits_per_second: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Failed {
    path: String,
    error: String,
}

impl<'known> File<'known> {
    fn of(file: &'known Watched) -> File<'known> {
        File {
            row: &file.row,
            written_bytes_per_second: file.written_per_second,
            change: file.change().map(|change| match change {
                Change::New => "new",
                Change::Replaced => "replaced",
                Change::Grew(_) => "grew",
                Change::Shrank(_) => "shrank",
                Change::Gone => "gone",
                Change::Unreadable => "unreadable",
            }),
            journal: file.journal.as_ref(),
            commits_per_second: file.commits_per_second,
        }
    }
}
