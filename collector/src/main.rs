//! hubmeter's collector: see the library for everything but the command line's ends.

use std::{io::Write as _, process::ExitCode};

use clap::Parser as _;
use hubmeter_collector::cli::{Cli, Failure};

fn main() -> ExitCode {
    let failure = match Cli::try_parse() {
        Ok(cli) => match cli.run() {
            Ok(()) => return ExitCode::SUCCESS,
            Err(failure) => failure,
        },
        Err(e) if !e.use_stderr() => {
            // --help and --version
            return e.print().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
        }
        Err(e) => Failure::Usage(e.render().to_string()),
    };
    // Where even this cannot be said, the code still tells.
    let _ = writeln!(std::io::stderr(), "{failure}");
    failure.exit_code()
}
