//! The `steadfast` command.

fn main() -> std::process::ExitCode {
    steadfast_cli::run()
}
