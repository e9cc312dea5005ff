//! The `runner` binary: parse, call the app, end with its code.

use std::process::ExitCode;

use clap::Parser;

/// Faster than the system's for the store's many small entries.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(runner::app::main(runner::cli::Cli::parse()))
}
