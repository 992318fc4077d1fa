//! What can be asked of the command: one definition, from which the parser and all help come.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::failure::Failure;
use crate::output::Out;
use crate::{
    advise, apply, backup, bench, evict, install, lock, log, recover, remember, run_program, stat, sync, top,
    tour, verify, warm, watch, work_folder,
};

/// What a newcomer needs, and what stands below the help.
const FIRST_STEPS: &str = "\
First steps:
  truncate -s 1M state.bin                                  # any file will do
  echo '{\"at\":0,\"text\":\"hi\"}' | steadfast apply state.bin   # all or nothing
  steadfast verify state.bin                                # is it sound?
  steadfast stat .                                          # what is in memory
  steadfast tour                                            # kill -9, shown";

/// Atomic, durable, in-place edits of any file, and what memory does with files
#[derive(Debug, Parser)]
#[command(
    name = "steadfast",
    version,
    after_help = FIRST_STEPS,
    after_long_help = format!("{FIRST_STEPS}\n\nExit codes: 0 done, 1 a \"no\" or a failure, 2 wrong use."),
    max_term_width = 100,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Apply(apply::Args),
    Recover(recover::Args),
    Log(log::Args),
    Verify(verify::Args),
    Backup(backup::Args),
    Sync(sync::Args),
    Stat(stat::Args),
    Watch(watch::Args),
    Top(top::Args),
    Warm(warm::Args),
    Evict(evict::Args),
    Lock(lock::Args),
    Advise(advise::Args),
    Save(remember::SaveArgs),
    Restore(remember::RestoreArgs),
    Run(run_program::Args),
    Tour(tour::Args),
    Bench(bench::Args),
    Completions(install::CompletionsArgs),
    Man(install::ManArgs),
    #[command(hide = true)]
    TourChild(tour::child::Args),
    #[command(hide = true)]
    Janitor(work_folder::JanitorArgs),
}

/// Reads the command line and does what it says.
pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        None => newcomer(),
        Some(Command::Apply(args)) => apply::run(&args),
        Some(Command::Recover(args)) => recover::run(&args),
        Some(Command::Log(args)) => log::run(&args),
        Some(Command::Verify(args)) => verify::run(&args),
        Some(Command::Backup(args)) => backup::run(&args),
        Some(Command::Sync(args)) => sync::run(&args),
        Some(Command::Stat(args)) => stat::run(&args),
        Some(Command::Watch(args)) => watch::run(&args),
        Some(Command::Top(args)) => top::run(&args),
        Some(Command::Warm(args)) => warm::run(&args),
        Some(Command::Evict(args)) => evict::run(&args),
        Some(Command::Lock(args)) => lock::run(&args),
        Some(Command::Advise(args)) => advise::run(&args),
        Some(Command::Save(args)) => remember::save(&args),
        Some(Command::Restore(args)) => remember::restore(&args),
        Some(Command::Run(args)) => run_program::run(&args),
        Some(Command::Tour(args)) => tour::run(&args),
        Some(Command::Completions(args)) => install::completions(&args, &Cli::command()),
        Some(Command::Man(args)) => install::man(&args, Cli::command()),
        Some(Command::Bench(args)) => bench::run(&args),
        Some(Command::TourChild(args)) => tour::child::run(&args),
        Some(Command::Janitor(args)) => work_folder::run_janitor(&args),
    };
    done.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}

/// `steadfast` alone: not an error, somebody is looking around.
fn newcomer() -> Result<(), Failure> {
    let mut out = Out::open();
    out.line("steadfast: atomic edits of any file, and what memory does with files\n")?;
    out.line(FIRST_STEPS)?;
    out.line("\n`steadfast --help` lists every command, `steadfast COMMAND --help` explains one.")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    /// clap checks its own definition, and every option has a sentence.
    #[test]
    fn the_definition_is_sound_and_everything_is_explained() {
        super::Cli::command().debug_assert();
        for command in super::Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains(' '), "{} {}: {help:?}", command.get_name(), argument.get_id());
            }
        }
    }
}
