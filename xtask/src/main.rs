//! hubmeter's own tasks: `cargo xtask up`, `cargo xtask test`, and the pieces of the latter.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod accuracy;
mod activity;
mod alertmanager;
mod build;
mod capture;
mod checks;
mod culling;
mod demo_day;
mod dist;
mod e2e;
mod faults;
mod flaky;
mod footprint;
mod http;
mod hub;
mod identity;
mod node;
mod outlets;
mod ports;
mod process;
mod progress;
mod score;
mod stamp;
mod stop;
mod store;
mod swarm;
mod test;
mod tools;
mod up;
mod venv;
mod vm;
mod wheel;
mod workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build everything and start a demo hub on this machine; Ctrl-C stops it
    Up(up::Up),
    /// Run every check and test there is
    Test(test::Test),
    /// Run the end-to-end tests alone; words after it go to Playwright
    E2e {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Say who may report and read, by every kind of token, against real hubs of both versions
    Identity,
    /// Say who is stopped by the idle culler alone, with our hook and by our command, on real hubs
    CullScenarios(culling::CullScenarios),
    /// Measure what meters do to a server's requests and activity
    Activity(activity::Activity),
    /// Run the tests of real cgroups of version 2 in a small virtual machine
    Vm(vm::Vm),
    /// Build the agent as one static file, and say where it is
    Dist,
    /// Build the Python package with the static agent in it, and say where it is
    Wheel,
    /// Measure what an agent costs that does nothing special
    Footprint(footprint::Footprint),
    /// Say what meters tell of seven workloads, and what the kernel charges for them
    Accuracy(accuracy::Accuracy),
    /// Let simulated agents load a real collector; words after it go to hubmeter-swarm
    Swarm(swarm::Swarm),
    /// Say how well detectors judge the corpus; words after it go to hubmeter-score
    Score(score::Score),
    /// Let every disk call of the collector's store fail, pull the plug, damage bytes
    Faults(faults::Faults),
    /// Store the same recorded samples as hubmeter, Prometheus and VictoriaMetrics do, and compare
    Store(store::Store),
    /// Print a session of the link as tshark reads it
    Capture(capture::Capture),
    /// Run the tidy test alone
    Tidy,
    /// Check licences, sources and duplicates of dependencies
    Deny,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = stop::listen().and_then(|()| match &cli.task {
        Task::Up(args) => up::run(args),
        Task::Test(args) => test::run(args),
        Task::E2e { args } => e2e::run(args),
        Task::Identity => identity::run(),
        Task::CullScenarios(args) => culling::run(args),
        Task::Activity(args) => activity::run(args),
        Task::Vm(args) => vm::run(args),
        Task::Dist => dist::run(),
        Task::Wheel => wheel::run(),
        Task::Footprint(args) => footprint::run(args),
        Task::Accuracy(args) => accuracy::run(args),
        Task::Swarm(args) => swarm::run(args),
        Task::Score(args) => score::run(args),
        Task::Faults(args) => faults::run(args),
        Task::Store(args) => store::run(args),
        Task::Capture(args) => capture::run(args),
        Task::Tidy => checks::tidy(),
        Task::Deny => checks::deny(),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
