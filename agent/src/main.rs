//! hubmeter's agent: the command line. Everything it does is in the library.

use std::process::ExitCode;

use clap::Parser;
use hubmeter_agent::{
    config::{Cli, Command, EXIT_USAGE},
    doctor, run, show,
};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refused) => {
            let code = if refused.use_stderr() { EXIT_USAGE } else { 0 };
            // Nothing is left to do when even the message cannot be written.
            let _ = refused.print();
            return ExitCode::from(code);
        }
    };
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Sample(args) => show::run(&args, args.names),
        Command::Doctor(args) => doctor::run(&args),
        Command::Disk(args) => show::disk(&args),
    }
}
