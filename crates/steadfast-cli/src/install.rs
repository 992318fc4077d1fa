//! `steadfast completions` and `steadfast man`: what a package installs beside the command, from the definition that it parses by.

use std::path::PathBuf;

use clap_complete::Shell;

use crate::failure::Failure;
use crate::output::Out;

/// Print what completes the command's words in a shell
///
/// For instance:
///
///   steadfast completions bash > /usr/share/bash-completion/completions/steadfast
///   steadfast completions zsh > /usr/share/zsh/site-functions/_steadfast
///   steadfast completions fish > /usr/share/fish/vendor_completions.d/steadfast.fish
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Write the manual pages
///
/// One for the command and one for each of its commands: steadfast.1, steadfast-stat.1 and so on.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// The folder that they are written to, such as /usr/share/man/man1.
    folder: PathBuf,
}

/// Runs `completions`.
pub(crate) fn completions(args: &CompletionsArgs, command: &clap::Command) -> Result<(), Failure> {
    let mut out = Out::open();
    out.text(&completions_for(args.shell, command))?;
    out.flush()
}

fn completions_for(shell: Shell, command: &clap::Command) -> String {
    // Hidden commands are nobody's to call; the generators know nothing of that.
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    let mut command = clap::Command::new("steadfast")
        .disable_help_subcommand(true)
        .version(env!("CARGO_PKG_VERSION"))
        .args(command.get_arguments())
        .subcommands(shown);
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "steadfast", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Runs `man`.
pub(crate) fn man(args: &ManArgs, command: clap::Command) -> Result<(), Failure> {
    if !args.folder.is_dir() {
        return Err(Failure::Failed(format!("{} is no folder: make it first", args.folder.display())));
    }
    clap_mangen::generate_to(command, &args.folder).map_err(|error| {
        Failure::Failed(format!("cannot write the manual pages to {}: {error}", args.folder.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    use crate::cli::Cli;

    fn shown(command: &clap::Command) -> Vec<clap::Command> {
        let commands = command.get_subcommands().filter(|command| !command.is_hide_set());
        commands.cloned().collect()
    }

    /// What the definition says of a command: its long options.
    fn options(command: &clap::Command) -> Vec<String> {
        let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
        shown.filter_map(|argument| argument.get_long().map(|long| format!("--{long}"))).collect()
    }

    #[test]
    fn help_manual_and_completions_agree() {
        let mut command = Cli::command();
        command.build();
        let folder = tempfile::tempdir().unwrap();
        clap_mangen::generate_to(Cli::command(), folder.path()).unwrap();
        let completions = [Shell::Bash, Shell::Zsh, Shell::Fish]
            .map(|shell| (shell, completions_for(shell, &Cli::command())));
        let pages = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(pages, 1 + shown(&command).len(), "a page for each command, and none for hidden ones");
        for mut subcommand in shown(&command) {
            let name = subcommand.get_name().to_owned();
            let help = subcommand.render_long_help().to_string();
            let page = std::fs::read_to_string(folder.path().join(format!("steadfast-{name}.1"))).unwrap();
            // roff writes a hyphen as one that may be copied.
            let page = page.replace("\\-", "-");
            for option in options(&subcommand) {
                assert!(help.contains(&option), "{name} {option}: not in the help");
                assert!(page.contains(&option), "{name} {option}: not in the manual page");
                for (shell, text) in &completions {
                    let word =
                        if *shell == Shell::Fish { format!("-l {}", &option[2..]) } else { option.clone() };
                    assert!(text.contains(&word), "{name} {option}: not in the completions of {shell}");
                }
            }
            for (shell, text) in &completions {
                assert!(text.contains(&name), "{name}: not in the completions of {shell}");
            }
        }
        for (shell, text) in &completions {
            assert!(!text.contains("tour-child"), "hidden commands in the completions of {shell}");
        }
    }
}
